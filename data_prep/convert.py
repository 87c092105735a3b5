"""Volume files to a store: discover, read, harmonise, write; one task per volume or pair.

Tasks get paths and names and give back outcomes, never arrays. The home of Ray in data_prep.
"""

import errno
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from data_prep.discover import Job, plan_jobs, sources_in_folder, sources_in_manifest
from data_prep.errors import UsageError, VolumeError, as_volume_error
from data_prep.harmonise import VERSION, harmonise
from data_prep.intensity import WINDOW_HU
from data_prep.progress import progress
from data_prep.pseudonym import open_key
from data_prep.quarantine import Quarantine, Refusal
from data_prep.source import Leniency, Source
from data_prep.split import Fractions, Split
from data_prep.store import commit_path, read_commit, unseal
from data_prep.volume import Grid, Modality
from data_prep.write import PreparedVolume, create_store, rebuild_index, write_volume, writing

_TASKS_PER_WORKER = 2
_STORAGE_FULL = "storage-full"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertSettings:
    """Convert NIfTI and DICOM volumes to one Zarr store. Run it again to go on where it stopped."""

    out: Path
    """The store to make or to add to, such as brain.zarr."""
    mri: Path | None = None
    """Folder of MRI volumes: .nii and .nii.gz files, each a subject, or DICOM at any depth."""
    ct: Path | None = None
    """Folder of CT volumes: .nii and .nii.gz files in HU, each a subject, or DICOM."""
    manifest: Path | None = None
    """CSV with the columns path,modality,subject,split,pair, instead of folders."""
    paired: bool = False
    """Equal NIfTI names under --mri and --ct are an aligned pair of one subject."""
    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0)
    """Voxel size of the store along z y x, in mm."""
    size: tuple[int, int] = (256, 256)
    """Rows and columns (Y X) of every slice, in voxels; multiples of 4."""
    split: Fractions = (0.8, 0.1, 0.1)
    """Shares of train, val and test for subjects without a split in the manifest."""
    key_file: Path | None = None
    """Secret that pseudonyms are made with, kept outside the store; OUT.key if not given."""
    workers: int | None = None
    """Volumes converted at a time, all cores if not given; 0 works here, without Ray."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)
    ray_address: str | None = None
    """A running Ray cluster to use (`auto` finds it); else a local one is started."""

    def __post_init__(self) -> None:
        if (self.manifest is None) == (self.mri is None and self.ct is None):
            raise UsageError(
                "Nothing to convert, or two lists of it: give --mri DIR and --ct DIR, "
                "or --manifest FILE."
            )
        if min(self.spacing_mm) <= 0 or any(n < 4 or n % 4 for n in self.size):
            raise UsageError(
                f"No store can have spacing {self.spacing_mm} mm and size {self.size}: spacing "
                "must be above 0, and the networks halve slices twice, so rows and columns must "
                "be multiples of 4. Give e.g. --spacing-mm 3 1 1 --size 256 256."
            )
        if abs(sum(self.split) - 1) > 1e-6 or min(self.split) < 0:
            raise UsageError(
                f"The shares {self.split} do not add up to 1. Give e.g. --split 0.8 0.1 0.1."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a conversion did."""

    written: int
    """Volumes made now."""
    kept: int
    """Volumes that were there already."""
    refused: tuple[Refusal, ...]
    skipped: Counter[str]
    """DICOM objects that are no volume of the modality asked for, by reason."""
    swept: int
    """Things that an interrupted run had left and this one removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one source."""

    source: Source
    written: bool
    refusal: Refusal | None = None


def convert(settings: ConvertSettings) -> Report:
    """Convert all inputs; what cannot be used is quarantined and the rest goes on.

    The quarantine file is OUT.quarantine.jsonl. Raises UsageError or StoreError before any
    volume is touched, and OSError (ENOSPC) when storage is full: what is committed stays.
    """
    settings = replace(settings, out=settings.out.absolute())  # workers have a folder of their own
    out = settings.out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"No store can be made at {out}: {error.strerror}. Give another --out."
        ) from error
    key = open_key(settings.key_file or out.with_name(out.name + ".key"))
    sources = sources_in_manifest(settings.manifest, key) if settings.manifest else []
    skipped: Counter[str] = Counter()
    folders: list[tuple[Path | None, Modality]] = [(settings.mri, "mri"), (settings.ct, "ct")]
    for folder, modality in folders:
        if folder:
            found, left = sources_in_folder(folder, modality, key, paired=settings.paired)
            sources += found
            skipped += left
    quarantine = Quarantine(path=out.with_name(out.name + ".quarantine.jsonl"))
    create_store(
        out,
        spacing_mm=settings.spacing_mm,
        size=settings.size,
        settings={"window_hu": WINDOW_HU, "preprocessing": VERSION},
        key_check=key.check,
    )
    outcomes = []
    with writing(out) as swept:
        jobs = plan_jobs(sources, _frozen_splits(out), settings.split)
        try:
            with progress("convert", total=len(sources)) as advance:
                for outcome in _outcomes(jobs, settings):
                    if outcome.refusal:
                        _stop_when_full(outcome.refusal)
                        quarantine.add(outcome.refusal, outcome.source.path)
                    outcomes.append(outcome)
                    advance()
        finally:
            rebuild_index(out)
    refused = sorted((o.refusal for o in outcomes if o.refusal), key=lambda r: r.number)
    written = sum(outcome.written for outcome in outcomes)
    kept = len(outcomes) - written - len(refused)
    return Report(written=written, kept=kept, refused=tuple(refused), skipped=skipped, swept=swept)


def convert_job(job: Job, settings: ConvertSettings) -> list[Outcome]:
    """Convert a volume, or the MRI and the CT of a pair onto the MRI's grid; never raises.

    What goes wrong with a source becomes its refusal; the other one of a pair is then written
    without a link.
    """
    digests = {source.name: source.sha256() for source in job.sources}
    if _is_committed(job, settings.out, digests):
        return [Outcome(source=source, written=False) for source in job.sources]
    ready: list[tuple[Source, PreparedVolume]] = []
    outcomes = []
    for source in job.sources:
        digest = digests[source.name]
        try:
            grid = ready[0][1].grid if ready else None
            ready.append((source, _prepare(source, job.split, digest, settings, grid)))
        except Exception as error:
            outcomes.append(_refused(source, digest, error))
    names = {volume.modality: volume.name for _, volume in ready}
    for source, volume in ready:
        link = names.get("ct" if volume.modality == "mri" else "mri")
        try:
            write_volume(settings.out, replace(volume, link=link))
            outcomes.append(Outcome(source=source, written=True))
        except Exception as error:
            outcomes.append(_refused(source, digests[source.name], error))
    return outcomes


def _is_committed(job: Job, out: Path, digests: dict[str, str]) -> bool:
    for source in job.sources:
        if not commit_path(out, source.name).exists():
            return False
        record = read_commit(out, source.name)
        if record["source_sha256"] != digests[source.name]:
            return False
        if len(job.sources) > 1 and not record["volume"]["link"]:
            return False
    return True


def _prepare(
    source: Source, split: Split, digest: str, settings: ConvertSettings, grid: Grid | None
) -> PreparedVolume:
    volume = source.read(settings.leniency)
    if commit_path(settings.out, source.name).exists():
        committed = read_commit(settings.out, source.name)["source_sha256"]
        if committed != digest:
            record = commit_path(settings.out, source.name).name
            raise VolumeError(
                "source-changed",
                f"The store holds this volume made from another file (sha256 {committed[:8]}).",
                f"To replace it, remove commits/{record} from the store and convert again.",
            )
    harmonised = harmonise(volume, spacing_mm=settings.spacing_mm, size=settings.size, grid=grid)
    return PreparedVolume(
        modality=source.modality,
        pseudonym=source.pseudonym,
        subject=source.subject,
        split=split,
        link=None,
        source_sha256=digest,
        harmonised=harmonised,
    )


def _refused(source: Source, digest: str, error: BaseException) -> Outcome:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = VolumeError(_STORAGE_FULL, "Storage is full.", "Free some space and go on.")
    refused = as_volume_error(error)
    refusal = Refusal(
        number=source.number,
        name=source.name,
        sha256=digest,
        code=refused.code,
        reason=refused.reason,
        remedy=refused.remedy,
    )
    return Outcome(source=source, written=False, refusal=refusal)


def _stop_when_full(refusal: Refusal) -> None:
    if refusal.code == _STORAGE_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _frozen_splits(out: Path) -> dict[str, Split]:
    """The splits of the subjects that are committed already."""
    records = (unseal(path) for path in (out / "commits").glob("*.json"))
    return {record["volume"]["subject"]: record["volume"]["split"] for record in records}


def _outcomes(jobs: Iterable[Job], settings: ConvertSettings) -> Iterator[Outcome]:
    if settings.workers == 0:
        for job in jobs:
            yield from convert_job(job, settings)
    else:
        yield from _outcomes_by_ray(jobs, settings)


def _outcomes_by_ray(jobs: Iterable[Job], settings: ConvertSettings) -> Iterator[Outcome]:
    """Run the jobs as Ray tasks, a bounded number in flight; outcomes as they come."""
    import ray  # takes seconds, and workers=0 does without

    from data_prep.ray_session import ray_session

    workers = settings.workers or len(os.sched_getaffinity(0))
    # A task that kills its worker (memory, a crash in C) is tried once more; one CPU per task
    # also makes Ray set OMP_NUM_THREADS to 1 in it.
    task = ray.remote(num_cpus=1, max_retries=1)(convert_job)
    queue = iter(jobs)
    flying: dict[Any, Job] = {}
    with ray_session(settings.ray_address, num_cpus=workers):
        while True:
            for job in itertools.islice(queue, _TASKS_PER_WORKER * workers - len(flying)):
                flying[task.remote(job, settings)] = job
            if not flying:
                return
            done = ray.wait(list(flying), num_returns=1)[0][0]
            job = flying.pop(done)
            try:
                outcomes = ray.get(done)
            except ray.exceptions.RayError as error:
                outcomes = [_refused(source, "", error) for source in job.sources]
            yield from outcomes
