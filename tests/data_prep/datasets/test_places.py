"""A pattern names files and folders, and the subject by what it leaves open."""

from pathlib import Path

import pytest

from data_prep.datasets.folders import find_in_folders
from data_prep.datasets.places import places_of
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from tests.support.series import setting, write_series
from tests.support.volumes import touch_files


def labels(root: Path, pattern: str) -> list[tuple[str, str | None]]:
    places = places_of(root / pattern, "--mri")
    return [(place.path.relative_to(root).as_posix(), place.label) for place in places]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/*_0000.nii.gz", [("a/x_1_0000.nii.gz", "x_1"), ("a/y_0000.nii.gz", "y")]),
        ("a/?_0001.nii.gz", [("a/y_0001.nii.gz", "y")]),
        ("a/[!x]_000[01].nii.gz", [("a/y_0000.nii.gz", "y/0"), ("a/y_0001.nii.gz", "y/1")]),
        ("s/*/mr", [("s/c1/mr", "c1"), ("s/c2/mr", "c2")]),
        ("s/c*/mr/*.nii", [("s/c1/mr/t.nii", "1"), ("s/c2/mr/t.nii", "2")]),
        ("s/**/t.nii", [("s/c1/mr/t.nii", "c1"), ("s/c2/mr/t.nii", "c2")]),
        ("*/{subject}/mr", [("s/c1/mr", "c1"), ("s/c2/mr", "c2")]),
        ("{subject}/c{subject}/mr", [("s/c1/mr", "s/1"), ("s/c2/mr", "s/2")]),
        ("a/x*.gz", [("a/x_1_0000.nii.gz", "_1_0000")]),
        ("s/c*", [("s/c1", "1"), ("s/c2", "2")]),
    ],
)
def test_the_open_part_of_a_pattern_names_the_subject(tmp_path, pattern, expected):
    touch_files(tmp_path, "a/x_1_0000.nii.gz", "a/y_0000.nii.gz", "a/y_0001.nii.gz")
    touch_files(tmp_path, "a/.hidden_0000.nii.gz", "s/c1/mr/t.nii", "s/c2/mr/t.nii")

    assert labels(tmp_path, pattern) == expected


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path):
    touch_files(tmp_path, "MRI [1]/a.nii")

    (place,) = places_of(tmp_path / "MRI [1]", "--mri")

    assert (place.path, place.label) == (tmp_path / "MRI [1]", None)


def test_a_pattern_without_a_match_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="matches no file and no folder"):
        places_of(tmp_path / "*_0000.nii.gz", "--mri")


def test_both_channels_of_nnunet_are_pairs_by_their_case(tmp_path):
    for case in ("AbdomenMRCT_0001", "AbdomenMRCT_0002"):
        touch_files(tmp_path, f"imagesTr/{case}_0000.nii.gz", f"imagesTr/{case}_0001.nii.gz")
    touch_files(tmp_path, "imagesTr/AbdomenMRCT_0003_0001.nii.gz", "labelsTr/x_0000.nii.gz")
    given = {
        "mri": tmp_path / "imagesTr/*_0000.nii.gz",
        "ct": tmp_path / "imagesTr/*_0001.nii.gz",
    }

    found = find_in_folders(given, Leniency(), paired=True)

    pairs = {volume.pair for volume in found.volumes}
    assert pairs == {"AbdomenMRCT_0001", "AbdomenMRCT_0002", None}
    assert len(found.volumes) == 5
    assert not found.remarks


def test_dicom_of_matched_folders_is_whose_the_pattern_says_only_where_it_says_so(tmp_path):
    for site in "ab":  # both sites count from 001
        change = setting(PatientID="001", SeriesInstanceUID=f"2.{ord(site)}")
        write_series(tmp_path / f"{site}/001/MR", change, modality="MR")

    by_id = find_in_folders({"mri": tmp_path / "*/*/MR"}, Leniency())
    by_path = find_in_folders({"mri": tmp_path / "{subject}/{subject}/MR"}, Leniency())

    assert {volume.label for volume in by_id.volumes} == {"001"}
    assert [volume.label for volume in by_path.volumes] == ["a/001", "b/001"]


def test_matched_files_that_are_no_volumes_are_counted(tmp_path):
    write_series(tmp_path / "mr", modality="MR")
    touch_files(tmp_path, "mr/a.nii")

    found = find_in_folders({"mri": tmp_path / "mr/*"}, Leniency())

    assert [volume.label for volume in found.volumes] == ["a"]
    ((kind, count),) = found.skipped.items()
    assert "for DICOM, match the folders" in kind
    assert count == 8
