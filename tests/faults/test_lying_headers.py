"""One lying header stops nothing: its volume is quarantined, or takes no more than a volume can."""

from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK
from pydicom.dataset import Dataset

from data_prep.convert.dry_run import forecast_conversion
from mrct.storage.local_path import LocalPath
from tests.faults.flipped_headers import (
    asked,
    by_qform,
    converted_headers,
    require_others_convert,
    scanned_headers,
)
from tests.support.series import every, write_series
from tests.support.volumes import write_head


def test_no_flip_in_a_header_takes_more_than_a_volume_can(tmp_path):
    with scanned_headers(LocalPath(tmp_path)) as inject:
        for number in range(300):
            inject(number)


@pytest.mark.parametrize("number", range(3), ids=["sform", "qform", "dicom"])
def test_two_sound_files_convert_beside_flipped_ones(number, tmp_path):
    with converted_headers(LocalPath(tmp_path)) as inject:
        inject(number)


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

    require_others_convert(folder, "ct", sound, tmp_path / "s.zarr")

    previews = forecast_conversion(asked(folder, "ct", tmp_path / "s.zarr")).previews
    assert [each.refusal.code for each in previews if each.refusal] == [code]
