"""One lying header stops nothing: its volume is quarantined, or takes no more than a volume can.

Single bits of the fields that sizes and places are computed from are flipped, each in a volume of
its own beside two sound ones. A few hundred flips by default, all under `make faults`.
"""

import hashlib
import os
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import pytest
import SimpleITK
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
from tests.support.conversions import GRID
from tests.support.series import every, setting, write_enhanced, write_series
from tests.support.volumes import write_head

IS_FULL = os.environ.get("CYCLEGAN_FAULTS") == "full"
SCANNED, CONVERTED = (10_000, 10_000) if IS_FULL else (150, 12)
"""Most flips of a format whose headers are scanned, and that are converted."""
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


def by_qform(path: Path) -> Path:
    """Leave the voxel sizes to pixdim alone, as files without an sform do."""
    content = bytearray(path.read_bytes())
    start = nibabel.Nifti1Header.template_dtype.fields["sform_code"][1]
    content[start : start + 2] = b"\0\0"
    path.write_bytes(content)
    return path


def nifti_ranges() -> Iterator[range]:
    fields = nibabel.Nifti1Header.template_dtype.fields
    for name in NIFTI_FIELDS:
        kind, start = fields[name][:2]
        yield range(start, start + kind.itemsize)


def dicom_ranges(content: bytes) -> Iterator[range]:
    """The bytes of the fields in Explicit VR Little Endian: tag, VR, length and value."""
    for keyword in DICOM_FIELDS:
        tag = Tag(keyword)
        head = struct.pack("<HH", tag.group, tag.element) + dictionary_VR(tag).encode()
        for found in re.finditer(re.escape(head), content):
            (length,) = struct.unpack_from("<H", content, found.end())
            yield range(found.start(), found.end() + 2 + length)


def flips(content: bytes, ranges: Iterator[range]) -> list[bytes]:
    """The file with each bit of the ranges flipped, in turn."""
    changed = []
    for at in (at for each in ranges for at in each):
        for bit in range(8):
            one = bytearray(content)
            one[at] ^= 1 << bit
            changed.append(bytes(one))
    return changed


def some(changed: list[bytes], count: int) -> list[bytes]:
    return random.Random(0).sample(changed, min(count, len(changed)))


def dicom_flips(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return flips(content, dicom_ranges(content))


def needed_bytes(path: Path, **of_source: Any) -> int:
    """What the store of a conversion of this volume would need by its header."""
    source = Source(path=path, pseudonym="0" * 16, subject="s", split=None, pair=None, **of_source)
    previews = scan_headers([source], LocalPath(path.parent / "no.zarr"))
    return bytes_needed(previews, PreprocessingSpec(**GRID))


@pytest.mark.parametrize("place", [lambda path: path, by_qform], ids=["sform", "qform"])
def test_no_flip_in_a_nifti_header_takes_more_than_a_volume_can(place, tmp_path):
    path = place(write_head(tmp_path / "a.nii", "mri"))

    for content in some(flips(path.read_bytes(), nifti_ranges()), SCANNED):
        path.write_bytes(content)
        assert needed_bytes(path, modality="mri") <= MOST_BYTES


def test_no_flip_in_a_dicom_header_takes_more_than_a_volume_can(tmp_path):
    path = write_enhanced(tmp_path / "a.dcm")

    for content in some(dicom_flips(path), SCANNED):
        path.write_bytes(content)
        for series in find_series(tmp_path):
            if refusal(series) is None:
                assert needed_bytes(tmp_path, modality="ct", series=series) <= MOST_BYTES


def asked(folder: Path, modality: str, tmp_path: Path) -> ConvertSettings:
    inputs = {modality: folder, f"{modality}_kind": ("all",)}
    return ConvertSettings(out=LocalPath(tmp_path / "s.zarr"), workers=0, **GRID, **inputs)


def assert_others_convert(folder: Path, modality: str, sound: list[Path], tmp_path: Path) -> None:
    """Convert a folder, dry and for good; its sound files become volumes whatever the others do."""
    settings = asked(folder, modality, tmp_path)
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


@pytest.mark.parametrize("place", [lambda path: path, by_qform], ids=["sform", "qform"])
def test_two_sound_nifti_files_convert_beside_flipped_ones(place, tmp_path):
    sound = [write_head(tmp_path / f"mri/sound-{n}.nii", "mri", n) for n in range(2)]
    content = place(write_head(tmp_path / "a.nii", "mri", 2)).read_bytes()
    for number, each in enumerate(some(flips(content, nifti_ranges()), CONVERTED)):
        (tmp_path / f"mri/liar-{number}.nii").write_bytes(each)

    assert_others_convert(tmp_path / "mri", "mri", sound, tmp_path)


def named(index: int) -> Callable[[Dataset], None]:
    """A change to another patient and series."""
    return lambda dataset: setting(
        PatientID=f"P{index}",
        StudyInstanceUID=f"1.2.4.{index}",
        SeriesInstanceUID=f"1.2.5.{index}",
        FrameOfReferenceUID=f"1.2.6.{index}",
    )(0, dataset)


def test_two_sound_dicom_files_convert_beside_flipped_ones(tmp_path):
    folder = tmp_path / "ct"
    sound = [write_enhanced(folder / f"sound-{n}/a.dcm", named(n)) for n in range(2)]
    whole = write_enhanced(tmp_path / "a.dcm")
    count = len(dicom_flips(whole))
    for number in random.Random(0).sample(range(count), min(CONVERTED, count)):
        path = write_enhanced(folder / f"liar-{number}/a.dcm", named(10 + number))
        path.write_bytes(dicom_flips(path)[number])

    assert_others_convert(folder, "ct", sound, tmp_path)


def far_apart(folder: Path) -> None:
    """A sagittal CT whose rows, which run upwards, lie 900 m apart."""
    spacing = every(setting_spacing)
    write_series(folder / "liar", spacing, orientation=(0, 1, 0, 0, 0, -1))


def setting_spacing(dataset: Dataset) -> None:
    dataset.PixelSpacing = [900_000, 0.8]


def without_pixels(folder: Path) -> None:
    """A CT whose last file claims more rows than it has bytes."""
    write_series(folder / "liar", every(lambda dataset: setattr(dataset, "Rows", 4000)))


def huge_voxels(folder: Path) -> None:
    """The exponent of pixdim[3] has one bit more: 6 mm become 1.1e+20."""
    path = by_qform(write_head(folder / "liar.nii", "ct"))
    content = bytearray(path.read_bytes())
    content[91] ^= 0x20
    path.write_bytes(content)


def rewritten(suffix: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    """A MetaImage or NRRD file with a part of its header replaced."""

    def make(folder: Path) -> None:
        head = SimpleITK.ReadImage(str(write_head(folder / "liar.nii", "ct")))
        SimpleITK.WriteImage(head, folder / f"liar{suffix}")
        (folder / "liar.nii").unlink()
        path = folder / f"liar{suffix}"
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))

    return make


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (huge_voxels, "extent-implausible"),
        (far_apart, "extent-implausible"),
        (without_pixels, "pixels-unreadable"),
        (rewritten(".mha", b"Spacing = 4 3.5 6", b"Spacing = 4 3.5 6e30"), "extent-implausible"),
        (rewritten(".mha", b"DimSize = 56 64 10", b"DimSize = 56 64 10000"), "header-damaged"),
        (rewritten(".nrrd", b"sizes: 56 64 10", b"sizes: 56 64 99999"), "header-damaged"),
    ],
)
def test_a_header_that_claims_too_much_is_quarantined_and_the_others_convert(make, code, tmp_path):
    folder = tmp_path / "ct"
    sound = [write_head(folder / f"sound-{n}.nii", "ct", n) for n in range(2)]
    make(folder)

    assert_others_convert(folder, "ct", sound, tmp_path)

    previews = forecast_conversion(asked(folder, "ct", tmp_path)).previews
    assert [each.refusal.code for each in previews if each.refusal] == [code]
