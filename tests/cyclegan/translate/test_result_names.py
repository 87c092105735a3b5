"""Names of results fit a file system, and tags of moved slices agree with them."""

import pytest

from cyclegan.translate.dicom_ct import supine_position
from cyclegan.translate.written_results import WrittenResult, short_label


@pytest.mark.parametrize("label", ["a" * 230, "ä" * 115, "名" * 80, "a" * 151])
def test_a_long_name_is_cut_and_stays_apart_from_its_like(label, tmp_path):
    names = [short_label(f"{label}{end}") for end in "ab"]

    assert len(set(names)) == 2
    for name in names:
        result = WrittenResult(
            out=tmp_path, name=f"{name}-0123456789abcdef", target="mri", is_dicom=False
        )
        for path in (result.path, result.preview, result.uncertainty):
            path.with_name(f".partial-01234567-{path.name}").write_bytes(b"")


@pytest.mark.parametrize("label", ["head", "a" * 150, "名" * 50])
def test_a_name_that_fits_is_kept(label):
    assert short_label(label) == label


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        *((f"HF{turn}", "HFS") for turn in ("S", "P", "DR", "DL")),
        *((f"FF{turn}", "FFS") for turn in ("S", "P", "DR", "DL")),
        ("", ""),
        ("LFP", "LFP"),
    ],
)
def test_axial_slices_lie_as_in_a_supine_patient(position, expected):
    assert supine_position(position) == expected
