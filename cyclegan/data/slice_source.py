"""Source of one domain's slices: from the sampled slices to arrays for the DALI graph.

It reads the slices with their neighbours, replaces damaged ones, and looks up the intensity window
of each.

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
from cyclegan.data.augmentation import DrawNoise
from cyclegan.data.companion_source import CompanionSource, PendingCompanions
from cyclegan.data.mri_intensity import MriIntensity
from cyclegan.data.prefetch import Heartbeat
from cyclegan.data.reader import OPEN_VOLUMES, PendingRead, SliceReader, SliceRef
from cyclegan.data.sampler import ATTEMPTS, Order, Slices
from cyclegan.data.slice_index import Domain, Ints
from cyclegan.data.stored_slices import StoredSlices
from data_prep.store.store import Store
from mrct.errors import StoreError
from mrct.imaging.modality import Modality
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Substitution:
    """One damaged slice and its replacement."""

    index: int
    """Index of the sample: step x global batch + position in the batch."""
    attempt: int
    """0 for the first replacement tried; higher if earlier ones were damaged too."""
    damaged: str
    """The damaged slice, as `<volume> slice <z>`."""
    taken: str
    """The replacement, as `<volume> slice <z>`."""
    found: str
    """What is wrong with the damaged slice."""


RecordSubstitution = Callable[[Substitution], None]


def append_to(path: StoragePath, note: Callable[[str], None]) -> RecordSubstitution:
    """Return a function that logs substitutions, and appends them to a file as lines of JSON.

    Args:
        path: File of the records, which workers may share (`StoragePath.append`).
        note: Called with a message for the user.
    """

    def append(substitution: Substitution) -> None:
        note(
            f"Sample {substitution.index} shows {substitution.taken}, because "
            f"{substitution.damaged} is damaged; see {path.name} for details."
        )
        line = json.dumps(asdict(substitution)) + "\n"
        path.append(line, f"{substitution.index}-{substitution.attempt}.json")

    return append


class DamageLimit:
    """Counter of the damaged slices of one domain that this worker has encountered.

    Args:
        config: Response to damage, and the largest share of damaged slices.
        name: Name of the domain in messages.
        num_slices: Slices of the domain, of which the share is taken.
    """

    def __init__(self, config: DataConfig, name: str, num_slices: int) -> None:
        self._config, self._name, self._num_slices = config, name, num_slices
        self._rows: set[int] = set()

    def meet(self, row: int, error: StoreError) -> None:
        """Count a damaged slice; one that is met again is not counted again.

        Args:
            row: Row of the slice in the domain's table.
            error: What is wrong with it.

        Raises:
            StoreError: The run must stop: `data.on_corrupt` is `stop`, or the share of damaged
                slices exceeds `data.max_corrupt`.
        """
        if self._config.on_corrupt == "stop":
            raise error
        self._rows.add(row)
        if len(self._rows) > self._config.max_corrupt * self._num_slices:
            raise StoreError(
                f"So far {len(self._rows)} of the {self._num_slices} {self._name} slices are "
                f"damaged, more than --data.max-corrupt {self._config.max_corrupt:g} allows: the "
                f"remaining slices are not the intended data. The last damage: {error}"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PendingSlices:
    """Slices that are being read from the store."""

    slices: Slices
    reading: PendingRead
    stage: str
    """Description of the read, for the heartbeat."""
    companions: PendingCompanions | None
    """Of MRI slices, in a run with companions."""


class DomainSource:
    """Source of the slices of one domain: reads ahead and replaces damaged slices.

    Args:
        modality: Modality of the domain.
        domain: Volumes and usable slices.
        order: Sequence of samples, from which replacements are drawn.
        store: Store with the volumes.
        config: Number of neighbours, and response to damage.
        reader: Reader of the store; both domains share one, and with it its cache.
        intensity: Source of the changes of intensity; None makes none.
        record: Called with each replacement of a damaged slice.
        heartbeat: Called with a description of the read, as a sign of progress.
        companions: Source of the companions of MRI slices; None makes none.
        draw_noise: Source of noise for MRIs drawn from CT slices; None makes none.
    """

    def __init__(
        self,
        modality: Modality,
        domain: Domain,
        order: Order,
        *,
        store: Store,
        config: DataConfig,
        reader: SliceReader,
        intensity: MriIntensity | None,
        record: RecordSubstitution,
        heartbeat: Heartbeat,
        companions: CompanionSource | None = None,
        draw_noise: DrawNoise | None = None,
    ) -> None:
        self._companions, self._draw_noise = companions, draw_noise
        self._modality, self._domain, self._order = modality, domain, order
        self._store, self._reader, self._intensity = store, reader, intensity
        self._offsets = np.arange(config.channels) - config.neighbours
        self._limit = DamageLimit(config, modality.upper(), len(domain.table))
        self._record, self._heartbeat = record, heartbeat
        # The index builds a volume's record on each access, so recent ones are cached.
        self._volume = lru_cache(OPEN_VOLUMES)(domain.volumes.__getitem__)

    def start(self, slices: Slices, step: int) -> PendingSlices:
        """Start reading the slices of a step, without waiting for them.

        Args:
            slices: At least one slice, as from `Order.samples`.
            step: Step of the slices, for messages.
        """
        first = self._name(int(slices.row[0]))
        stage = f"reading the {self._modality.upper()} slices of step {step} ({first}, ...)"
        return PendingSlices(
            slices=slices,
            reading=self._read(slices.row, stage),
            stage=stage,
            companions=self._start_companions(slices.index, slices.row, stage),
        )

    def finish(self, pending: PendingSlices) -> StoredSlices:
        """Wait for the slices of `start`.

        Returns:
            The slices with their neighbours, windows and augmentation, in the order of the samples.

        Raises:
            StoreError: A slice is damaged, and `data.on_corrupt` or `data.max_corrupt` stops the
                run, or `ATTEMPTS` replacements are damaged too. Or a companion is damaged.
        """
        self._heartbeat(pending.stage)
        rows, voxels, body = self._whole(pending)
        augmentation = pending.slices.augmentation
        numbers, _ = self._domain.table.places(rows)
        windows = [self._volume(number).window for number in numbers.tolist()]
        low, high = np.array(windows, np.float32).T.copy()
        index, companions = pending.slices.index, pending.companions
        if not np.array_equal(rows, pending.slices.row):  # the companions of the replacements
            companions = self._start_companions(index, rows, pending.stage)
        return StoredSlices(
            voxels=voxels,
            body=body,
            matrix=augmentation.matrices(self._store.size, self._store.spacing_mm[1:]),
            low=low,
            height=self._domain.table.heights(rows),
            scale=2 * augmentation.gain.astype(np.float32) / (high - low),
            intensity=self._intensity.inputs(augmentation) if self._intensity else {},
            noise=self._draw_noise.planes(index) if self._draw_noise else None,
            companions=self._companions.finish(companions)
            if self._companions and companions
            else None,
        )

    def _start_companions(self, index: Ints, rows: Ints, stage: str) -> PendingCompanions | None:
        if self._companions is None:
            return None
        numbers, slices = self._domain.table.places(rows)
        names = [self._volume(number).name for number in numbers.tolist()]
        shown = list(zip(names, slices.tolist(), strict=True))
        return self._companions.start(index, shown, partial(self._heartbeat, stage))

    def _read(self, rows: Ints, stage: str) -> PendingRead:
        refs: list[SliceRef] = []
        numbers, slices = self._domain.table.places(rows)
        for number, z in zip(numbers.tolist(), slices.tolist(), strict=True):
            volume = self._volume(number)
            # Beyond the ends of a volume, the end slice is repeated.
            neighbours = (z + self._offsets).clip(0, volume.shape[0] - 1)
            refs.extend(SliceRef(volume, one) for one in neighbours.tolist())
        return self._reader.start(refs, partial(self._heartbeat, stage))

    def _arrays(self, reading: PendingRead) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        voxels, body = reading.result()
        # [N * C, H, W] -> [N, C, H, W]
        shape = (-1, len(self._offsets), *voxels.shape[1:])
        return voxels.reshape(shape), body.reshape(shape)

    def _whole(self, pending: PendingSlices) -> tuple[Ints, NDArray[np.int16], NDArray[np.uint8]]:
        """Return the rows after replacement of damaged slices, their voxels and their masks."""
        slices, rows = pending.slices, pending.slices.row.copy()
        voxels, body = self._arrays(pending.reading)
        damage = self._damage(pending.reading, np.arange(len(rows)))
        for attempt in count():
            if not damage:
                return rows, voxels, body
            if attempt == ATTEMPTS:
                raise next(iter(damage.values()))
            for position, error in damage.items():
                self._limit.meet(int(rows[position]), error)
            positions = np.array(list(damage))
            taken = self._order.substitutes(
                self._modality, slices.index[positions], slices.row[positions], attempt
            )
            for position, row in zip(positions, taken, strict=True):
                self._record(
                    Substitution(
                        index=int(slices.index[position]),
                        attempt=attempt,
                        damaged=self._name(int(rows[position])),
                        taken=self._name(int(row)),
                        found=str(damage[position]),
                    )
                )
            again = self._read(taken, pending.stage)
            rows[positions] = taken
            voxels[positions], body[positions] = self._arrays(again)
            damage = self._damage(again, positions)
        raise AssertionError  # count() has no end

    def _damage(self, reading: PendingRead, positions: Ints) -> dict[int, StoreError]:
        """Return the errors by position in the batch; complete once the pixels have been read."""
        channels = len(self._offsets)
        return {
            int(positions[ref // channels]): error for ref, error in sorted(reading.damage.items())
        }

    def _name(self, row: int) -> str:
        (number,), (z,) = self._domain.table.places(np.array([row]))
        return f"{self._volume(int(number)).name} slice {z}"
