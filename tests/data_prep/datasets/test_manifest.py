"""A manifest says which volumes there are; what cannot be followed is refused with its line."""

from pathlib import Path

import pytest

from data_prep.datasets.manifest import (
    ManifestError,
    Row,
    find_in_manifest,
    read_manifest,
    write_manifest,
)
from mrct.errors import UsageError
from tests.support.series import write_series

HEADER = "path,modality,subject,split,pair\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.nii", "b.nii", "c.nii"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder: Path, text: str) -> list[Row]:
    (folder / "manifest.csv").write_text(text)
    return read_manifest(folder / "manifest.csv")


def test_what_was_written_is_read_back(folder):
    rows = [
        Row(
            path=folder / "a.nii", modality="mri", subject="one, the first", split="test", pair="p"
        ),
        Row(path=folder / "b.nii", modality="ct", subject="one, the first", split="test", pair="p"),
        Row(path=folder / "c.nii", modality="ct", subject='"two"'),
    ]

    write_manifest(folder / "manifest.csv", rows)

    assert read_manifest(folder / "manifest.csv") == rows


def test_paths_in_the_file_are_relative_so_that_the_folder_can_move(folder):
    (folder / "mri").mkdir()
    row = Row(path=folder / "mri" / "d.nii", modality="mri", subject="one")

    write_manifest(folder / "manifest.csv", [row])

    assert (folder / "manifest.csv").read_text() == HEADER + "mri/d.nii,mri,one,,\n"


def test_split_and_pair_may_be_left_out_and_a_spreadsheet_may_have_saved_it(folder):
    (folder / "manifest.csv").write_bytes(
        "\ufeffpath,modality,subject,age\r\na.nii, MRI,one,40\r\n".encode()
    )

    assert read_manifest(folder / "manifest.csv") == [
        Row(path=folder / "a.nii", modality="mri", subject="one")
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,modality\na.nii,mri\n", "no column subject"),
        ("", "no column modality, path, subject"),
        (HEADER, "lists no volume"),
        (HEADER + "a.nii,mri,one,,\nb.nii,pet,one,,\n", "Line 3.*modality is unknown.*mri, ct"),
        (HEADER + "a.nii,mri,one,training,\n", "Line 2.*split is unknown.*train, val, test"),
        (HEADER + "a.nii,mri,,,\n", "Line 2.*subject is empty"),
        (HEADER + "a.nii,mri\n", "Line 2.*subject is empty"),
        (HEADER + "absent.nii,mri,one,,\n", "Line 2.*no file or folder at its path"),
        (
            "path,modality,subject,mask\na.nii,mri,one,absent.nii\n",
            "Line 2.*no file at its mask",
        ),
        (HEADER + "a.nii,mri,one,,\na.nii,mri,two,,\n", "Line 3.*earlier line lists its volume"),
        (HEADER + "a.nii,mri,one,train,\nb.nii,ct,one,test,\n", "Line 3.*another split"),
        (HEADER + "a.nii,mri,one,,p\n", "Line 2.*no second volume"),
        (HEADER + "a.nii,mri,one,,p\nb.nii,mri,one,,p\n", "Line 3.*more than one MRI"),
        (HEADER + "a.nii,mri,one,,p\nb.nii,ct,two,,p\n", "Line 3.*of one subject"),
        (HEADER + "a.nii,mri,one,,p\nb.nii,ct,one,,p\nc.nii,ct,one,,p\n", "Line 4.*more than one"),
    ],
)
def test_what_cannot_be_followed_is_refused(folder, text, complaint):
    with pytest.raises(ManifestError, match=complaint):
        read(folder, text)


def test_a_missing_manifest_says_what_to_give(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read: No such file.*path,modality"):
        read_manifest(tmp_path / "manifest.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"\x1f\x8b\x08\xff")

    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(tmp_path / "manifest.csv")


def test_a_message_never_repeats_a_cell_since_a_name_may_have_slipped_into_it(folder):
    with pytest.raises(ManifestError) as caught:
        read(folder, HEADER + "a.nii,Jane^Canary,one,,\n")

    assert "Canary" not in str(caught.value)


def test_a_mask_column_is_there_only_where_it_is_needed(folder):
    row = Row(path=folder / "a.nii", modality="mri", subject="one", mask=folder / "b.nii")

    write_manifest(folder / "manifest.csv", [row])

    assert (folder / "manifest.csv").read_text().startswith(HEADER.strip() + ",mask\n")
    assert read_manifest(folder / "manifest.csv") == [row]


def test_a_path_may_be_a_dicom_series_by_its_folder_or_one_of_its_files(folder):
    write_series(folder / "ct", modality="CT")
    write_series(folder / "both", modality="MR", name="mr{:03d}")
    write_series(folder / "both", modality="CT", name="ct{:03d}")
    (folder / "manifest.csv").write_text(
        HEADER + "ct/003.dcm,ct,one,,\nboth,ct,two,,\nboth,mri,two,val,\n"
    )

    volumes = find_in_manifest(folder / "manifest.csv").volumes

    assert [len(volume.series.headers) for volume in volumes] == [8, 8, 8]
    assert [volume.series.modality for volume in volumes] == ["ct", "ct", "mri"]
    assert [volume.subject for volume in volumes] == ["one", "two", "two"]


def test_a_series_named_by_its_folder_and_by_a_file_is_named_twice(folder):
    write_series(folder / "ct", modality="CT")
    (folder / "manifest.csv").write_text(HEADER + "ct,ct,one,,\nct/003.dcm,ct,two,,\n")

    with pytest.raises(ManifestError, match=r"Line 3.*earlier line lists its series"):
        find_in_manifest(folder / "manifest.csv")


def other_series(index, dataset):
    dataset.SeriesInstanceUID = "9.9"


@pytest.mark.parametrize(("place", "found"), [("two", "2"), ("none", "0"), ("notes.txt", "0")])
def test_a_folder_must_hold_one_series_of_the_modality(folder, place, found):
    write_series(folder / "two", modality="CT", name="a{:03d}")
    write_series(folder / "two", other_series, modality="CT", name="b{:03d}")
    write_series(folder / "none", modality="MR")
    (folder / "notes.txt").write_text("none")
    (folder / "manifest.csv").write_text(HEADER + f"a.nii,mri,one,,\n{place},ct,two,,\n")

    with pytest.raises(ManifestError, match=f"Line 3.*has {found} DICOM series"):
        find_in_manifest(folder / "manifest.csv")
