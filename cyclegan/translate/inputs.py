"""Find the inputs of a translation: volume files, DICOM series and volumes of a store.

Discovery and reading are those of `data_prep`, with decoding in a separate process.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.datasets.dataset import SUFFIXES_TEXT, volume_files
from data_prep.datasets.split import Split
from data_prep.datasets.unread_files import unread_files
from data_prep.dicom.files import HEAD_BYTES, looks_like_dicom
from data_prep.dicom.series import Series, find_series
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.file_state import file_changed
from data_prep.readers.formats import VOLUME_SUFFIXES, stem_of
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from data_prep.store.commits import read_commit
from data_prep.store.store import Store, StoredVolume, open_store
from data_prep.store.zarr_codec import METADATA
from mrct.errors import UsageError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid, Note, Volume
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import StoragePath, storage_path


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInput:
    """A volume file or a DICOM series."""

    source: Source
    label: str = field(repr=False)
    """The name of the file or folder."""

    @property
    def number(self) -> int:
        """Return the number of the input in the list, from 1."""
        return self.source.number

    @property
    def path(self) -> Path:
        """Return the path, for the private lists."""
        return self.source.path

    @property
    def series(self) -> Series | None:
        """Return the series if the input is DICOM."""
        return self.source.series

    @property
    def frame(self) -> int:
        """Return its first frame in its file: 0, except for later volumes of an enhanced object."""
        headers = self.series.headers if self.series else ()
        return headers[0].frame if headers else 0

    def sha256(self) -> str:
        """Return the hash of its content, independent of file names; raises VolumeError."""
        return self.source.sha256()

    def read(self, note: Note) -> Volume:
        """Read the volume from its files; raises VolumeError if it cannot be used."""
        stamps = self.source.stamps()
        volume = self.source.read(note)
        if self.source.stamps() != stamps:
            raise file_changed()
        return volume


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredInput:
    """A volume of a store, which is already preprocessed."""

    store: Store
    volume: StoredVolume
    number: int
    series: None = None
    frame: int = 0

    def __reduce__(self) -> tuple[Callable[[StoragePath, str, int], "StoredInput"], Any]:
        """Pickle where the volume is: an open store belongs to its process."""
        return _reopened, (self.store.path, self.volume.name, self.number)

    @property
    def label(self) -> str:
        """Return its pseudonym."""
        return self.volume.name.split("/")[1]

    @property
    def path(self) -> Path:
        """Return the path of the volume in the store."""
        return Path(str(self.store.path / self.volume.name))

    def sha256(self) -> str:
        """Return the hash of the file that it was made from."""
        return str(read_commit(self.store.path, self.volume.name)["source_sha256"])

    def preprocessed(self) -> PreprocessedVolume:
        """Return its stored voxels, whose source grid is that of the store. Raises StoreError."""
        volume = self.volume
        return PreprocessedVolume(
            voxels=self.store.voxels(volume),
            body=self.store.body(volume).astype(np.bool_),
            affine=volume.affine,
            window=volume.window,
            scale=volume.scale,
            offset=volume.offset,
            source=Grid(shape=volume.shape, affine=volume.affine),
        )


Input = FileInput | StoredInput


def _reopened(path: StoragePath, name: str, number: int) -> StoredInput:
    """Return a volume of a store that another process has opened."""
    store = _opened(str(path))
    volume = store.volumes.named(name)
    if volume is None:
        raise UsageError(
            f"{path} has lost its volume {name} meanwhile. Run the same command again."
        )
    return StoredInput(store=store, volume=volume, number=number)


@cache
def _opened(path: str) -> Store:
    return open_store(storage_path(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundInputs:
    """All inputs, and the number of skipped files by reason."""

    inputs: list[Input]
    left: Counter[str]


def find_inputs(
    paths: Sequence[Path],
    out: Path,
    modality: Modality,
    split: Split,
    spec: PreprocessingSpec,
    leniency: Leniency,
) -> FoundInputs:
    """Find the volumes of one modality among the given paths and below given folders.

    A given file is always an input, so that an unreadable one is reported and not skipped; a DICOM
    file stands for its series. Of a store, one `split` is taken. Hidden files and files in `out`
    are skipped; DICOM of another modality is counted.

    Raises:
        UsageError: There is none, a path does not exist, or a store was preprocessed in another
            way.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise UsageError(
            f"There is no {', '.join(missing)}. Nothing was translated: correct the path, or "
            "omit it."
        )
    left: Counter[str] = Counter()
    inputs: list[Input] = []
    seen: set[tuple[Path, int]] = set()
    in_out = 0
    for path in paths:
        if (path / METADATA).is_file():
            inputs += _of_store(path, modality, split, spec)
            continue
        for each in _of_files(path, modality, left):
            place = each.source.paths[0].absolute()
            if out.absolute() in place.parents:
                in_out += 1
            elif (place, each.frame) not in seen:
                seen.add((place, each.frame))
                inputs.append(each)
    if not inputs:
        beside = "".join(f", {count} x {why}" for why, count in left.items())
        if in_out:
            beside += f", {in_out} in --out, which is for results only"
        raise UsageError(
            f"There is no {modality.upper()} volume in the {len(paths)} inputs{beside}. Give files "
            f"({SUFFIXES_TEXT}), folders of them or of DICOM series, or a store. For volumes of "
            "the other modality, give the model of the other direction."
        )
    return FoundInputs(inputs=list(_numbered(inputs, leniency)), left=left)


def _numbered(inputs: Iterable[Input], leniency: Leniency) -> Iterator[Input]:
    for number, each in enumerate(inputs, start=1):
        if isinstance(each, StoredInput):
            yield replace(each, number=number)
        else:
            named = replace(each.source, number=number, pseudonym=f"input-{number}")
            yield replace(each, source=replace(named, leniency=leniency))


def _of_files(path: Path, modality: Modality, left: Counter[str]) -> Iterator[FileInput]:
    if path.is_dir():
        files, series = volume_files(path, left), find_series(path)
        left += unread_files([path], {*files, *(file for each in series for file in each.paths)})
        yield from (_file(file, modality) for file in files)
        yield from _of_series(series, modality, left)
    elif _is_dicom(path):
        own = path.resolve()
        beside = find_series(path.parent)
        its = [s for s in beside if any(file.resolve() == own for file in s.paths)]
        yield from _of_series(its, modality, left)
    else:
        yield _file(path, modality)


def _of_series(
    found: Sequence[Series], modality: Modality, left: Counter[str]
) -> Iterator[FileInput]:
    """Yield series of the modality and, if the folder has DICOM, damaged files, which are then
    refused by name."""
    has_dicom = any(series.headers for series in found)
    for series in found:
        if series.modality == modality or (has_dicom and not series.headers):
            folder = series.paths[0].parent
            yield FileInput(source=_source(folder, modality, series), label=folder.absolute().name)
        else:
            left[f"DICOM: {series.error.code if series.error else 'other-modality'}"] += 1


def _file(path: Path, modality: Modality) -> FileInput:
    return FileInput(source=_source(path, modality), label=stem_of(path.name))


def _source(path: Path, modality: Modality, series: Series | None = None) -> Source:
    return Source(
        path=path,
        modality=modality,
        pseudonym="",
        subject="",
        split=None,
        pair=None,
        series=series,
    )


def _is_dicom(path: Path) -> bool:
    if path.name.lower().endswith(VOLUME_SUFFIXES) or not path.is_file():
        return False
    with path.open("rb") as stream:
        return looks_like_dicom(stream.read(HEAD_BYTES))


def _of_store(
    path: Path, modality: Modality, split: Split, spec: PreprocessingSpec
) -> list[StoredInput]:
    store = open_store(LocalPath(path))
    if store.preprocessing != spec:
        ours = asdict(store.preprocessing)
        different = ", ".join(
            f"{name} {ours[name]} instead of {value}"
            for name, value in asdict(spec).items()
            if ours[name] != value
        )
        raise UsageError(
            f"The store {path.name} is preprocessed differently from the model's training data: "
            f"{different}. Translate the volume files themselves, or convert them with the same "
            "settings."
        )
    return [
        StoredInput(store=store, volume=volume, number=0)
        for volume in store.select(modality, split)
    ]
