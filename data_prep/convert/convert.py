"""Converts volume files to a store: finds, plans, converts and indexes them."""

import errno
import os
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from data_prep.convert.conversion_plan import (
    find_volumes,
    leave_out_removed,
    name_sources,
    plan_jobs,
)
from data_prep.convert.disk_usage import bytes_needed, check_space
from data_prep.convert.executor import run_jobs
from data_prep.convert.header_scan import scan_headers, unusable
from data_prep.convert.id_map import write_id_map
from data_prep.convert.modality_swap import seems_swapped
from data_prep.convert.pseudonyms import Key, open_key
from data_prep.convert.quarantine import Quarantine, Refusal
from data_prep.convert.settings import ConvertSettings
from data_prep.convert.worker import STORAGE_FULL, convert_job
from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.series_choice import Ask
from data_prep.store.check import remove_damaged
from data_prep.store.commits import frozen_splits
from data_prep.store.history import rebuild_index, require_heights
from data_prep.store.removal import remove_if_empty
from data_prep.store.writer import create_store, store_lock, sweep
from data_prep.store.zarr_codec import METADATA
from mrct.errors import STORAGE_FULL_ERRNOS, OtherStoreError, UsageError
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.progress import progress


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionReport:
    """The result of a conversion."""

    written: int
    """Volumes written by this run."""
    kept: int
    """Volumes that the store already had."""
    refused: tuple[Refusal, ...]
    skipped: Counter[str]
    """Counts of files and series that were skipped, by reason."""
    remarks: tuple[str, ...]
    """Remarks for the user on how names were interpreted."""
    notes: int
    """Number of notes in the commit records on corrections and on what could not be checked."""
    whole_sizes: tuple[tuple[int, int], ...]
    """Of each volume whose body the slices cut, the rows and columns that would hold it."""
    swept: int
    """Files and folders of an interrupted run that this one removed."""
    is_swapped: bool
    """Whether most MRIs and most CTs have values of the other modality."""
    is_empty: bool
    """Whether no volume is, or ever was, in the store, which was then removed."""


def convert(settings: ConvertSettings, ask: Ask | None = None) -> ConversionReport:
    """Convert all inputs; unusable ones are quarantined, and the others are converted.

    `ask` asks for the kinds of image where there are several and the settings choose none.
    Raises UsageError, StoreError or StorageFullError before any volume is converted, and OSError
    (ENOSPC) if the storage fills up later: committed volumes stay, and the next run continues.
    """
    settings = settings.absolute()
    findings = find_volumes(settings, ask)
    with ExitStack() as lock:
        try:
            lock.enter_context(store_lock(settings.out))
            key = _key(settings)
        except OSError as error:
            if error.errno in STORAGE_FULL_ERRNOS:
                raise
            raise UsageError(
                f"The store {settings.out} with the key {settings.key_path} cannot be created: "
                f"{error.strerror or error}. Give another --out or --key-file."
            ) from error
        return _convert(settings, findings, key)


def _convert(settings: ConvertSettings, findings: FoundVolumes, key: Key) -> ConversionReport:
    """Convert into a store whose lock this process holds."""
    out, spec = settings.out, settings.preprocessing
    sources = name_sources(findings.volumes, key, settings.leniency)
    sources = leave_out_removed(sources, out, findings.skipped)
    previews = scan_headers(sources, out)
    check_space(bytes_needed(previews, spec), out)
    quarantine = Quarantine(path=settings.quarantine_path)
    create_store(
        out,
        spacing_mm=spec.spacing_mm,
        size=spec.size,
        settings={"window_hu": WINDOW_HU} | spec.settings(),
        key_check=key.check,
    )
    swept = sweep(out)
    outcomes, is_whole = [], False
    if settings.repair:
        remove_damaged(out, partial(print, file=sys.stderr), full=True)
    require_heights(out)
    jobs = plan_jobs(sources, frozen_splits(out), settings.split, unusable(previews))
    if settings.id_map:
        write_id_map(settings.id_map, sources)
    try:
        with progress("convert", total=len(sources)) as advance:
            conversion = partial(convert_job, out=out, spec=spec)
            for outcome in run_jobs(jobs, conversion, settings.workers, settings.ray_address):
                if outcome.refusal:
                    _stop_when_full(outcome.refusal)
                    quarantine.add(outcome.refusal, outcome.source.path)
                outcomes.append(outcome)
                advance()
        is_whole = True
    finally:
        rebuild_index(out, fit=is_whole)
    is_empty = remove_if_empty(out)
    refused = sorted((o.refusal for o in outcomes if o.refusal), key=lambda r: r.number)
    written = sum(outcome.written for outcome in outcomes)
    return ConversionReport(
        written=written,
        kept=len(outcomes) - written - len(refused),
        refused=tuple(refused),
        skipped=findings.skipped,
        remarks=tuple(findings.remarks),
        notes=sum(len(outcome.notes) for outcome in outcomes),
        whole_sizes=tuple(o.whole_size for o in outcomes if o.whole_size),
        swept=swept,
        is_swapped=seems_swapped(
            (o.source.modality, o.refusal.code if o.refusal else "") for o in outcomes
        ),
        is_empty=is_empty,
    )


def _key(settings: ConvertSettings) -> Key:
    path, out = settings.key_path, settings.out
    if not path.exists() and (out / METADATA).exists():
        raise OtherStoreError(
            f"There is no key file {path}, and the pseudonyms in {out} were made with a key: with "
            "another key every volume would get a second name, and a subject could be in two "
            "splits. Give the store's own key (--key-file), or convert into a new --out."
        )
    return open_key(path)


def _stop_when_full(refusal: Refusal) -> None:
    if refusal.code == STORAGE_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
