"""Volume files to a store: discover, plan, convert each, index. It touches no voxel itself."""

import errno
import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data_prep.conversion import STORAGE_FULL
from data_prep.discover import plan_jobs, sources_in_folder, sources_in_manifest
from data_prep.errors import UsageError
from data_prep.harmonise import VERSION
from data_prep.intensity import WINDOW_HU
from data_prep.place import beside, place
from data_prep.progress import progress
from data_prep.pseudonym import open_key
from data_prep.quarantine import Quarantine, Refusal
from data_prep.repair import take_out_damaged
from data_prep.settings import ConvertSettings
from data_prep.tasks import outcomes_of
from data_prep.volume import Modality
from data_prep.write import create_store, frozen_splits, rebuild_index, writing


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
    notes: int
    """Things put right or not to be checked, told in the commit records."""
    swept: int
    """Things that an interrupted run had left and this one removed."""


def convert(settings: ConvertSettings) -> Report:
    """Convert all inputs; what cannot be used is quarantined and the rest goes on.

    The quarantine file is OUT.quarantine.jsonl. Raises UsageError or StoreError before any
    volume is touched, and OSError (ENOSPC) when storage is full: what is committed stays.
    """
    settings = replace(settings, out=place(settings.out))  # workers have a folder of their own
    out = settings.out
    try:
        if isinstance(out, Path):
            out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"No store can be made at {out}: {error.strerror}. Give another --out."
        ) from error
    key = open_key(settings.key_file or beside(out, ".key"))
    sources = sources_in_manifest(settings.manifest, key) if settings.manifest else []
    skipped: Counter[str] = Counter()
    folders: list[tuple[Path | None, Modality]] = [(settings.mri, "mri"), (settings.ct, "ct")]
    for folder, modality in folders:
        if folder:
            found, left = sources_in_folder(folder, modality, key, paired=settings.paired)
            sources += found
            skipped += left
    quarantine = Quarantine(path=beside(out, ".quarantine.jsonl"))
    create_store(
        out,
        spacing_mm=settings.spacing_mm,
        size=settings.size,
        settings={"window_hu": WINDOW_HU, "preprocessing": VERSION},
        key_check=key.check,
    )
    outcomes = []
    with writing(out) as swept:
        if settings.repair:
            take_out_damaged(out, partial(print, file=sys.stderr), full=True)
        jobs = plan_jobs(sources, frozen_splits(out), settings.split)
        try:
            with progress("convert", total=len(sources)) as advance:
                for outcome in outcomes_of(jobs, settings):
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
    return Report(
        written=written,
        kept=kept,
        refused=tuple(refused),
        skipped=skipped,
        notes=sum(len(outcome.notes) for outcome in outcomes),
        swept=swept,
    )


def _stop_when_full(refusal: Refusal) -> None:
    if refusal.code == STORAGE_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
