"""Runs one job of a conversion: reads, preprocesses and writes its sources.

A job takes paths and names and returns outcomes, never arrays and never an exception, so that it
can run in another process.
"""

from dataclasses import dataclass, replace
from typing import Any

from data_prep.convert.conversion_plan import ConversionJob
from data_prep.convert.quarantine import Refusal
from data_prep.datasets.split import Split
from data_prep.preprocess.preprocess import PreprocessedVolume, preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.file_state import Stamp, file_changed
from data_prep.sources.source import Source
from data_prep.store.commits import commit_path, read_commit
from data_prep.store.writer import PreparedVolume, write_volume
from mrct.errors import STORAGE_FULL_ERRNOS, VolumeError, as_volume_error
from mrct.imaging.volume import Grid, Note
from mrct.storage.paths import StoragePath

STORAGE_FULL = "storage-full"
"""Refusal code for full storage, which is not a fault of the input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionOutcome:
    """The result of converting one source."""

    source: Source
    written: bool
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()
    """Corrections and what could not be checked, a sentence each."""
    whole_size: tuple[int, int] | None = None
    """Rows and columns that would hold the body, if the slices of the store cut it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """The state of a source's files before they were read."""

    stamps: tuple[Stamp, ...]
    sha256: str


def convert_job(
    job: ConversionJob, out: StoragePath, spec: PreprocessingSpec
) -> list[ConversionOutcome]:
    """Convert a volume, or the MRI and the CT of a pair onto the grid of the MRI; never raises.

    An error becomes the refusal of its source; the other source of the pair is then written
    without a link, or stays unchanged if it was written before.
    """
    seen: dict[str, _Seen] = {}
    outcomes = []
    for source in job.sources:
        try:
            seen[source.name] = _Seen(stamps=source.stamps(), sha256=source.sha256())
        except Exception as error:
            outcomes.append(refusal_of(source, "", error))
    if records := _committed(job, out, seen):
        return [_kept(*each) for each in zip(job.sources, records, strict=True)]
    ready: list[tuple[Source, PreparedVolume]] = []
    for source in job.sources:
        if source.name not in seen:
            continue
        try:
            grid = ready[0][1].grid if ready else None
            volume = _prepare(source, job.split, seen[source.name], out, spec, grid)
            ready.append((source, volume))
        except Exception as error:
            outcomes.append(refusal_of(source, seen[source.name].sha256, error))
    names = {volume.modality: volume.name for _, volume in ready}
    for source, volume in ready:
        link = names.get("ct" if volume.modality == "mri" else "mri")
        try:
            if len(ready) < len(job.sources) and _stays(source, job, out, seen):
                outcomes.append(_kept(source, _record_of(out, source)))
                continue
            write_volume(out, replace(volume, link=link))
            outcomes.append(
                ConversionOutcome(
                    source=source,
                    written=True,
                    notes=volume.notes,
                    whole_size=volume.preprocessed.whole_size,
                )
            )
        except Exception as error:
            outcomes.append(refusal_of(source, seen[source.name].sha256, error))
    return outcomes


def _committed(
    job: ConversionJob, out: StoragePath, seen: dict[str, _Seen]
) -> list[dict[str, Any]]:
    """Return the records of the sources of a job; empty unless all of it has been converted."""
    records = []
    for source in job.sources:
        if source.name not in seen:
            return []
        record = _record_of(out, source)
        if not _is_same(record, seen[source.name]):
            return []
        if len(job.sources) > 1 and not record["volume"]["link"]:
            return []
        records.append(record)
    return records


def _kept(source: Source, record: dict[str, Any]) -> ConversionOutcome:
    """Return the outcome of a source that was converted before.

    It has what the record tells, because a kill may have ended that run before it told the user.
    """
    whole_size = record.get("whole_size")
    return ConversionOutcome(
        source=source,
        written=False,
        notes=tuple(record.get("notes", ())),
        whole_size=tuple(whole_size) if whole_size else None,
    )


def _record_of(out: StoragePath, source: Source) -> dict[str, Any]:
    """Return the commit record of a volume; empty if there is none."""
    return read_commit(out, source.name) if commit_path(out, source.name).exists() else {}


def _is_same(record: dict[str, Any], seen: _Seen) -> bool:
    """Return whether the store has the volume, made from the same bytes."""
    return bool(record) and record["source_sha256"] == seen.sha256


def _stays(source: Source, job: ConversionJob, out: StoragePath, seen: dict[str, _Seen]) -> bool:
    """Return whether the stored volume of a source stays although its partner cannot be used now.

    Raises VolumeError if the stored volume of the partner is linked to another version of this
    one: converted alone it would get its own grid, and the two would no longer be aligned.
    """
    if _is_same(_record_of(out, source), seen[source.name]):
        return True
    for other in job.sources:
        record = _record_of(out, other)
        if record and record["volume"]["link"] == source.name:
            raise VolumeError(
                "pair-incomplete",
                "The other file of its pair cannot be used now, and the stored volume of that file "
                "is linked to this one.",
                f"Repair the other file, or also remove "
                f"commits/{commit_path(out, other.name).name} from the store, and convert again.",
            )
    return False


def _prepare(
    source: Source,
    split: Split,
    seen: _Seen,
    out: StoragePath,
    spec: PreprocessingSpec,
    grid: Grid | None,
) -> PreparedVolume:
    notes: list[str] = []
    preprocessed = preprocessed_source(source, spec, grid, notes.append)
    if source.stamps() != seen.stamps:
        raise file_changed()
    record = _record_of(out, source)
    if record and not _is_same(record, seen):
        name = commit_path(out, source.name).name
        raise VolumeError(
            "source-changed",
            "The store already has this volume, made from another file "
            f"(sha256 {record['source_sha256'][:8]}).",
            f"To replace it, remove commits/{name} from the store and convert again.",
        )
    return PreparedVolume(
        modality=source.modality,
        kind=source.kind,
        pseudonym=source.pseudonym,
        subject=source.subject,
        split=split,
        link=None,
        source_sha256=seen.sha256,
        preprocessed=preprocessed,
        notes=tuple(notes),
    )


def preprocessed_source(
    source: Source, spec: PreprocessingSpec, grid: Grid | None, note: Note
) -> PreprocessedVolume:
    """Read a source and preprocess it for the store, on `grid` if given; raises VolumeError."""
    volume = source.read(note)
    given_mask = source.read_mask()
    if given_mask is not None:
        note("The mask given with the volume bounds where scores count, and nothing else.")
    preprocessed = preprocess(volume, spec, grid=grid, given_mask=given_mask)
    for text in preprocessed.notes:
        note(text)
    return preprocessed


def refusal_of(source: Source, digest: str, error: BaseException) -> ConversionOutcome:
    """Return the outcome of a refused source; `digest` is empty if the source was not read."""
    if isinstance(error, OSError) and error.errno in STORAGE_FULL_ERRNOS:
        error = VolumeError(STORAGE_FULL, "Storage is full.", "Free some space and continue.")
    fault = as_volume_error(error)
    refusal = Refusal(
        number=source.number,
        name=source.name,
        sha256=digest,
        code=fault.code,
        reason=fault.reason,
        remedy=fault.remedy,
    )
    return ConversionOutcome(source=source, written=False, refusal=refusal)
