"""Flipped bits of the fields of a header that sizes and places are computed from.

One lying header stops nothing: its volume is quarantined, or takes no more than a volume can.
"""

import hashlib
import random
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from data_prep.convert.convert import convert
from data_prep.convert.disk_usage import bytes_needed
from data_prep.convert.dry_run import forecast_conversion
from data_prep.convert.header_scan import scan_headers
from data_prep.convert.settings import ConvertSettings
from data_prep.dicom.series import find_series, refusal
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.sources.source import Source
from data_prep.store.commits import read_commit
from data_prep.store.store import open_store
from mrct.storage.local_path import LocalPath, sha256_of
from tests.faults.injections import Inject
from tests.support.conversions import GRID
from tests.support.series import setting, write_enhanced
from tests.support.volumes import write_head

LIARS = 12
"""Flipped headers in one conversion, beside two sound volumes."""
MOST_BYTES = 5 << 20
"""A volume of 3 m in the small store of these tests, with room."""
NIFTI_FIELDS = (
    *("sizeof_hdr", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope", "scl_inter"),
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "magic"),
)
DICOM_FIELDS = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
)


def by_sform(path: Path) -> Path:
    """Leave the file as it is written."""
    return path


def by_qform(path: Path) -> Path:
    """Leave the voxel sizes to pixdim alone, as files without an sform do."""
    content = bytearray(path.read_bytes())
    start = nibabel.Nifti1Header.template_dtype.fields["sform_code"][1]
    content[start : start + 2] = b"\0\0"
    path.write_bytes(content)
    return path


def nifti_places(content: bytes) -> Iterator[int]:
    fields = nibabel.Nifti1Header.template_dtype.fields
    for name in NIFTI_FIELDS:
        kind, start = fields[name][:2]
        yield from range(start, start + kind.itemsize)


def dicom_places(content: bytes) -> Iterator[int]:
    """The bytes of the fields in Explicit VR Little Endian: tag, VR, length and value."""
    for keyword in DICOM_FIELDS:
        tag = Tag(keyword)
        head = struct.pack("<HH", tag.group, tag.element) + dictionary_VR(tag).encode()
        for found in re.finditer(re.escape(head), content):
            (length,) = struct.unpack_from("<H", content, found.end())
            yield from range(found.start(), found.end() + 2 + length)


def flipped(content: bytes, places: Callable[[bytes], Iterator[int]], draw: random.Random) -> bytes:
    """The file with one bit of these places flipped."""
    changed = bytearray(content)
    changed[draw.choice([*places(content)])] ^= 1 << draw.randrange(8)
    return bytes(changed)


def needed_bytes(path: Path, **of_source: Any) -> int:
    """What the store of a conversion of this volume would need by its header."""
    source = Source(path=path, pseudonym="0" * 16, subject="s", split=None, pair=None, **of_source)
    previews = scan_headers([source], LocalPath(path.parent / "no.zarr"))
    return bytes_needed(previews, PreprocessingSpec(**GRID))


@contextmanager
def scanned_headers(folder: LocalPath) -> Iterator[Inject]:
    """Each injection flips a bit of a header, which is scanned as before a conversion."""
    sform, qform = (
        write_head(folder / "a.nii", "mri"),
        by_qform(write_head(folder / "b.nii", "mri")),
    )
    dicom = write_enhanced(folder / "series/a.dcm")
    sound = {path: path.read_bytes() for path in (sform, qform, dicom)}

    def inject(number: int) -> None:
        path = (sform, qform, dicom)[number % 3]
        places = dicom_places if path is dicom else nifti_places
        path.write_bytes(flipped(sound[path], places, random.Random(number)))
        if path is not dicom:
            assert needed_bytes(path, modality="mri") <= MOST_BYTES
            return
        for series in find_series(path.parent):
            if refusal(series) is None:
                assert needed_bytes(path.parent, modality="ct", series=series) <= MOST_BYTES

    yield inject


def asked(folder: Path, modality: str, out: Path) -> ConvertSettings:
    inputs = {modality: folder, f"{modality}_kind": ("all",)}
    return ConvertSettings(out=LocalPath(out), workers=0, **GRID, **inputs)


def require_others_convert(folder: Path, modality: str, sound: list[Path], out: Path) -> None:
    """Convert a folder, dry and for good; its sound files become volumes whatever the others do."""
    settings = asked(folder, modality, out)
    forecast = forecast_conversion(settings)
    report = convert(settings)

    assert forecast.bytes_needed < MOST_BYTES * len(forecast.previews)
    assert report.written + len(report.refused) == len(forecast.previews)
    for each in report.refused:
        assert each.reason
        assert each.remedy
    store = open_store(settings.out)
    digests = {read_commit(store.path, each.name)["source_sha256"] for each in store.volumes}
    for path in sound:
        own = sha256_of(path)  # a series has that of the hashes of its files
        assert {own, hashlib.sha256(own.encode()).hexdigest()} & digests


def named(index: int) -> Callable[[Dataset], None]:
    """A change to another patient and series."""
    return lambda dataset: setting(
        PatientID=f"P{index}",
        StudyInstanceUID=f"1.2.4.{index}",
        SeriesInstanceUID=f"1.2.5.{index}",
        FrameOfReferenceUID=f"1.2.6.{index}",
    )(0, dataset)


def convert_nifti_liars(folder: Path, place: Callable[[Path], Path], draw: random.Random) -> None:
    sound = [write_head(folder / f"mri/sound-{n}.nii", "mri", n) for n in range(2)]
    content = place(write_head(folder / "a.nii", "mri", 2)).read_bytes()
    for number in range(LIARS):
        liar = flipped(content, nifti_places, draw)
        (folder / f"mri/liar-{number}.nii").write_bytes(liar)
    require_others_convert(folder / "mri", "mri", sound, folder / "s.zarr")


def convert_dicom_liars(folder: Path, draw: random.Random) -> None:
    sound = [write_enhanced(folder / f"ct/sound-{n}/a.dcm", named(n)) for n in range(2)]
    for number in range(LIARS):
        path = write_enhanced(folder / f"ct/liar-{number}/a.dcm", named(10 + number))
        path.write_bytes(flipped(path.read_bytes(), dicom_places, draw))
    require_others_convert(folder / "ct", "ct", sound, folder / "s.zarr")


@contextmanager
def converted_headers(folder: LocalPath) -> Iterator[Inject]:
    """Each injection converts `LIARS` volumes of flipped headers beside two sound ones."""

    def inject(number: int) -> None:
        here, draw = folder / str(number), random.Random(number)
        if number % 3 == 2:
            convert_dicom_liars(here, draw)
        else:
            convert_nifti_liars(here, (by_sform, by_qform)[number % 3], draw)
        shutil.rmtree(here)

    yield inject
