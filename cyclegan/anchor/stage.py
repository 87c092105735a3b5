"""Warps training CTs onto the MRIs of the train split, as Ray tasks, and keeps them in the store.

Each MRI is one task, which writes its own warps. Which CTs those are depends on the store alone, so
that the result is the same on any number of machines, and a second start makes what is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.anchor.donors import donors_of
from cyclegan.anchor.warps import Donor, warps_onto
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.table_file import KeptTable
from cyclegan.errors import DataError
from data_prep.store.companions.cache import put_group, sweep_companions
from data_prep.store.companions.group import (
    TRUSTED,
    SourceVolume,
    encode_group,
    key_of,
    read_group,
)
from data_prep.store.store import Store, StoredVolume, open_store
from data_prep.store.writer import write_lock
from mrct.errors import StoreError, UnreachableError
from mrct.progress import progress
from mrct.ray_tasks import task_results, task_session
from mrct.storage.paths import StoragePath

WARPS_VERSION = 1
"""Of how CTs are chosen, registered and weighed."""
Translate = Callable[[StoredVolume], NDArray[np.float32]]
"""Returns the synthetic CT of an MRI of the store, HU [z, y, x]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoBetween:
    """The synthetic CTs that CTs are registered to: of the contrast table, or of a model."""

    table: KeptTable
    model_sha256: str = ""
    translate: Translate | None = None
    """Called in this process, for a model."""

    def made_from(self, ct_per_mri: int) -> dict[str, Any]:
        """Return what the warps are made from, beside the volumes."""
        return {
            "kind": "warped",
            "version": WARPS_VERSION,
            "table": self.table.sha256,
            "model": self.model_sha256,
            "ct_per_mri": ct_per_mri,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class WarpedMri:
    """What became of an MRI."""

    mri: str
    nats: tuple[float, ...] = ()
    mismatch: tuple[float, ...] = ()
    """As in `Warps`."""
    problem: str = ""
    """Why nothing was warped onto it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchored:
    """What became of all MRIs."""

    key: str
    made: list[WarpedMri] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """MRIs whose warps were there."""
    remade: list[str] = field(default_factory=list)
    """Sentences about warps that were there and could not be used."""

    @property
    def problems(self) -> list[str]:
        """Return a sentence for each MRI without warps."""
        return [each.problem for each in self.made if each.problem]

    @property
    def warped(self) -> list[WarpedMri]:
        """Return the MRIs that were given warps."""
        return [each for each in self.made if not each.problem]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    store: StoragePath
    mri: str
    cts: tuple[str, ...]
    guess: NDArray[np.float32] | None = field(repr=False)


def warp_train_split(
    store: Store, between: GoBetween, *, ct_per_mri: int, workers: int | None = None
) -> Anchored:
    """Warp CTs of the train split onto each of its MRIs, where that was not done yet.

    Args:
        store: Store of which only the volumes that it shows are used.
        between: What the CTs are registered to.
        ct_per_mri: Largest number of CTs for an MRI.
        workers: As for `task_session`.

    Raises:
        DataError: The train split has no MRI, or no CT.
        StoreError: Another command is writing to the store.
        UnreachableError: The store is away, or Ray was lost.
    """
    mris, cts = ([*store.select(modality, "train")] for modality in ("mri", "ct"))
    if not mris or not cts:
        raise DataError(
            f"Warps need an MRI and a CT in the train split of {store.path}, which has {len(mris)} "
            f"MRIs and {len(cts)} CTs. Convert more volumes."
        )
    made_from = between.made_from(ct_per_mri)
    found = Anchored(key=key_of(made_from))
    with task_session(workers), write_lock(store.path):
        sweep_companions(store.path)
        wanted: list[tuple[StoredVolume, list[StoredVolume]]] = []
        for number, mri in enumerate(mris):
            donors = donors_of(number, mri, cts, ct_per_mri)
            if not donors:
                problem = f"{mri.name}: no CT of another subject shows the heights of its body."
                found.made.append(WarpedMri(mri=mri.name, problem=problem))
            elif _is_kept(store, found, mri, donors):
                found.kept.append(mri.name)
            else:
                wanted.append((mri, donors))

        def jobs() -> Iterator[_Job]:
            for mri, donors in wanted:
                guess = between.translate(mri) if between.translate else None
                names = tuple(ct.name for ct in donors)
                yield _Job(store=store.path, mri=mri.name, cts=names, guess=guess)

        done = len(mris) - len(wanted)
        with progress("warp", total=len(mris), done=done) as advance:
            shared = between.table.table, made_from
            purpose = "CTs were warped"
            for each in task_results(_warp, jobs(), workers, *shared, purpose=purpose):
                found.made.append(each)
                advance()
    return found


def _is_kept(store: Store, found: Anchored, mri: StoredVolume, donors: list[StoredVolume]) -> bool:
    """Return whether an MRI has warps of these CTs as they are now."""
    try:
        group = read_group(store.path, found.key, mri.name)
        if group is None or [ct.name for ct in group.cts] != [ct.name for ct in donors]:
            return False
        group.verify()
    except UnreachableError:
        raise
    except StoreError as error:
        found.remade.append(str(error))
        return False
    return True


def _warp(job: _Job, table: ContrastTable, made_from: dict[str, Any]) -> WarpedMri:
    """Warp CTs onto one MRI and keep them."""
    try:
        return _warp_and_keep(job, table, made_from)
    except UnreachableError:
        raise
    except (StoreError, DataError) as error:
        return WarpedMri(mri=job.mri, problem=f"{job.mri}: {error}")


def _warp_and_keep(job: _Job, table: ContrastTable, made_from: dict[str, Any]) -> WarpedMri:
    store = open_store(job.store)
    # Before the voxels: what is converted again meanwhile makes the warps stale.
    mri_source, *sources = (SourceVolume.of(job.store, name) for name in (job.mri, *job.cts))
    mri, *cts = (_named(store, name) for name in (job.mri, *job.cts))
    voxels, body = store.voxels(mri), store.body(mri)
    guess = job.guess
    if guess is None:
        guess = table.synthetic_ct(voxels, body, mri.height)
    donors: Iterator[Donor] = ((ct, store.voxels(ct), store.body(ct).astype(bool)) for ct in cts)
    warps = warps_onto(mri, voxels, body.astype(bool), guess, table, donors, store.spacing_mm)
    group = encode_group(
        kind="warped",
        mri=mri_source,
        cts=sources,
        hu=np.rint(warps.hu).astype(np.int16),
        weight=np.rint(TRUSTED * warps.weight).astype(np.uint8),
        quality=warps.nats,
        made_from=made_from,
    )
    if not put_group(job.store, group):
        raise DataError("One of the subjects was removed from the store meanwhile.")
    return WarpedMri(mri=job.mri, nats=warps.nats, mismatch=warps.mismatch)


def _named(store: Store, name: str) -> StoredVolume:
    volume = store.volumes.named(name)
    if volume is None:
        raise DataError(f"{name} was removed from the store meanwhile.")
    return volume
