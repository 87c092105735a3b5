"""Find the source files of a store's CTs, for scores on their original grids.

A store keeps no paths, so files are identified by the SHA-256 in the commit record.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cyclegan.errors import DataError
from cyclegan.evaluate.paired_ct import PairedCt, on_source_grid
from data_prep.datasets.dataset import FoundVolume
from data_prep.datasets.folders import find_in_folders
from data_prep.datasets.manifest import find_in_manifest
from data_prep.datasets.series_choice import SeriesChoice
from data_prep.dicom.image_kind import KINDS
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from data_prep.store.commits import read_commit
from data_prep.store.store import Store, StoredVolume
from mrct.errors import UsageError, VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import ignore_note
from mrct.progress import progress

LENIENT = Leniency(
    resample_tilt=True,
    resample_irregular=True,
    max_gap=math.inf,
    assume_hu=True,
    assume_affine=True,
)
"""All tolerances are on: the conversion already accepted files with these bytes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NativeGridReader:
    """The source file of each stored CT that was found, by the CT's name in the store."""

    sources: dict[str, Source]

    def on_native_grid(self, pair: PairedCt) -> PairedCt:
        """Return the pair on the grid of its source CT.

        Raises:
            DataError: The source is not among the files, or can no longer be read.
        """
        source = self.sources.get(pair.mri.link or "")
        if source is None:
            raise DataError(
                f"The source of {pair.mri.link} is not among the files given with --native (none "
                "has its SHA-256), so it cannot be scored on its own grid. Give the folder or "
                "manifest that the store was made from."
            )
        try:
            return on_source_grid(pair, source.read(ignore_note), source.read_mask())
        except VolumeError as error:
            raise DataError(f"The source of {pair.mri.link} cannot be read: {error}") from error


def native_grids_of(path: Path, store: Store, cts: Iterable[StoredVolume]) -> NativeGridReader:
    """Find the sources of `cts` in a folder of CT files and DICOM series, or in a manifest.

    Raises:
        UsageError: None of the sources was found.
    """
    wanted = {read_commit(store.path, ct.name)["source_sha256"]: ct for ct in cts}
    found = _found(path)
    sources = {}
    with progress("find source CTs", len(found)) as advance:
        for number, volume in enumerate(found, 1):
            source = _source(volume, number)
            ct = wanted.get(_sha256(source))
            if ct is not None:
                sources[ct.name] = source
            advance()
    if wanted and not sources:
        raise UsageError(
            f"None of the {len(found)} CT volumes of {path} is the source of one of the "
            f"{len(wanted)} CTs to score in {store.path} (no SHA-256 is equal). Give the folder or "
            "manifest that this store was made from."
        )
    return NativeGridReader(sources=sources)


def _found(path: Path) -> list[FoundVolume]:
    if path.is_file():
        return [v for v in find_in_manifest(path).volumes if v.modality == "ct"]
    every_kind: dict[Modality, SeriesChoice] = {"ct": SeriesChoice(kinds=KINDS["ct"])}
    return find_in_folders({"ct": path}, LENIENT, choices=every_kind).volumes


def _source(found: FoundVolume, number: int) -> Source:
    return Source(
        path=found.path,
        modality="ct",
        pseudonym=f"source-{number}",
        subject="",
        split=None,
        pair=None,
        mask=found.mask,
        series=found.series,
        leniency=LENIENT,
        number=number,
    )


def _sha256(source: Source) -> str:
    """Return the SHA-256, or an empty string for an unreadable source, which cannot have been
    converted."""
    try:
        return source.sha256()
    except VolumeError:
        return ""
