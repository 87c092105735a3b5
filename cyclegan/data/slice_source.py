"""One domain of a run: from the slices that the order names to arrays that the graph can take.

It reads, adds the neighbours, puts others in the place of damaged slices, and looks up what
normalises each. It knows neither steps nor threads.

Axes: N samples, C neighbouring slices, H rows, W columns.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import count

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import NoiseBank
from cyclegan.data.dali import StoredSlices
from cyclegan.data.prefetch import Heartbeat
from cyclegan.data.reader import OPEN_VOLUMES, Reading, SliceReader, SliceRef
from cyclegan.data.sampler import ATTEMPTS, Order, Slices
from cyclegan.data.slice_index import Domain, Ints
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.imaging.volume import Modality
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Substitution:
    """One slice that was taken in the place of a damaged one."""

    index: int
    """The sample: step x global batch + place in the batch."""
    attempt: int
    """0 for the first slice tried; a later one where that was damaged too."""
    damaged: str
    """`<volume> slice <z>`."""
    taken: str
    found: str
    """What is wrong with the damaged one."""


Record = Callable[[Substitution], None]


def append_to(path: StoragePath, note: Callable[[str], None]) -> Record:
    """A record that adds a line of JSON to a file, which workers may share, and tells of it."""

    def append(substitution: Substitution) -> None:
        note(
            f"Sample {substitution.index} shows {substitution.taken}, because "
            f"{substitution.damaged} is damaged; {path.name} says more."
        )
        line = json.dumps(asdict(substitution)) + "\n"
        path.append(line, f"{substitution.index}-{substitution.attempt}.json")

    return append


class DamageLimit:
    """Counts the damaged slices of one domain that this worker has met."""

    def __init__(self, config: DataConfig, name: str, num_slices: int) -> None:
        self._config, self._name, self._num_slices = config, name, num_slices
        self._rows: set[int] = set()

    def meet(self, row: int, error: StoreError) -> None:
        """Count a damaged slice.

        Raises:
            StoreError: The run is to stop: at the first, or because they have become too many.
        """
        if self._config.on_corrupt == "stop":
            raise error
        self._rows.add(row)
        if len(self._rows) > self._config.max_corrupt * self._num_slices:
            raise StoreError(
                f"{len(self._rows)} of the {self._num_slices} {self._name} slices are damaged so "
                f"far, more than --data.max-corrupt {self._config.max_corrupt:g} allows: what is "
                f"left is not the data that was asked for. The last one: {error}"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pending:
    """Slices on their way from the store."""

    slices: Slices
    reading: Reading
    stage: str
    """What waiting for them is called."""


class DomainSource:
    """The slices of one domain, read ahead and whole."""

    def __init__(
        self,
        modality: Modality,
        domain: Domain,
        order: Order,
        *,
        store: Store,
        config: DataConfig,
        reader: SliceReader,
        bank: NoiseBank | None,
        record: Record,
        heartbeat: Heartbeat,
    ) -> None:
        self._modality, self._domain, self._order = modality, domain, order
        self._store, self._reader, self._bank = store, reader, bank
        self._offsets = np.arange(config.channels) - config.neighbours
        self._limit = DamageLimit(config, modality.upper(), len(domain.table))
        self._record, self._heartbeat = record, heartbeat
        # Put together from the index anew each time it is asked for.
        self._volume = lru_cache(OPEN_VOLUMES)(domain.volumes.__getitem__)

    def start(self, slices: Slices, step: int) -> Pending:
        """Begin to read the slices of a step."""
        first = self._name(int(slices.row[0]))
        stage = f"reading the {self._modality.upper()} slices of step {step} ({first}, ...)"
        return Pending(slices=slices, reading=self._read(slices.row, stage), stage=stage)

    def finish(self, pending: Pending) -> StoredSlices:
        """Wait for the slices.

        Raises:
            StoreError: One is damaged, and `data.on_corrupt` or its limit says to stop.
        """
        self._heartbeat(pending.stage)
        rows, voxels, body = self._whole(pending)
        variation = pending.slices.variation
        numbers, _ = self._domain.table.places(rows)
        windows = [self._volume(number).window for number in numbers.tolist()]
        low, high = np.array(windows, np.float32).T.copy()
        return StoredSlices(
            voxels=voxels,
            body=body,
            matrix=variation.matrices(self._store.size, self._store.spacing_mm[1:]),
            low=low,
            height=self._domain.table.heights(rows),
            scale=2 * variation.gain.astype(np.float32) / (high - low),
            noise=self._bank.cut(variation.noise_place).reshape(voxels.shape)
            if self._bank
            else None,
            noise_level=variation.noise.astype(np.float32) if self._bank else None,
        )

    def _read(self, rows: Ints, stage: str) -> Reading:
        refs: list[SliceRef] = []
        numbers, slices = self._domain.table.places(rows)
        for number, z in zip(numbers.tolist(), slices.tolist(), strict=True):
            volume = self._volume(number)
            # Beyond the ends of a volume its last slice is its own neighbour.
            neighbours = (z + self._offsets).clip(0, volume.shape[0] - 1)
            refs.extend(SliceRef(volume, one) for one in neighbours.tolist())
        return self._reader.start(refs, partial(self._heartbeat, stage))

    def _arrays(self, reading: Reading) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        voxels, body = reading.result()
        # [N * C, H, W] -> [N, C, H, W]
        shape = (-1, len(self._offsets), *voxels.shape[1:])
        return voxels.reshape(shape), body.reshape(shape)

    def _whole(self, pending: Pending) -> tuple[Ints, NDArray[np.int16], NDArray[np.uint8]]:
        """The rows that are shown in the end, and their pixels."""
        slices, rows = pending.slices, pending.slices.row.copy()
        voxels, body = self._arrays(pending.reading)
        damage = self._damage(pending.reading, np.arange(len(rows)))
        for attempt in count():
            if not damage:
                return rows, voxels, body
            if attempt == ATTEMPTS:
                raise next(iter(damage.values()))
            for place, error in damage.items():
                self._limit.meet(int(rows[place]), error)
            places = np.array(list(damage))
            taken = self._order.substitutes(
                self._modality, slices.index[places], slices.row[places], attempt
            )
            for place, row in zip(places, taken, strict=True):
                self._record(
                    Substitution(
                        index=int(slices.index[place]),
                        attempt=attempt,
                        damaged=self._name(int(rows[place])),
                        taken=self._name(int(row)),
                        found=str(damage[place]),
                    )
                )
            again = self._read(taken, pending.stage)
            rows[places] = taken
            voxels[places], body[places] = self._arrays(again)
            damage = self._damage(again, places)
        raise AssertionError  # count() has no end

    def _damage(self, reading: Reading, places: Ints) -> dict[int, StoreError]:
        """What is wrong, by the sample's place in the batch; complete once the pixels are there."""
        channels = len(self._offsets)
        return {
            int(places[ref // channels]): error for ref, error in sorted(reading.damage.items())
        }

    def _name(self, row: int) -> str:
        (number,), (z,) = self._domain.table.places(np.array([row]))
        return f"{self._volume(int(number)).name} slice {z}"
