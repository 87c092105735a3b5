"""Folders to series: nothing is lost, nothing is mixed, and what is no volume says why.

The long list of faults and of what is odd but legal is in `tests/faults`.
"""

import os
from pathlib import Path

import pytest

from data_prep.dicom.series import Series, find_series, refusal
from data_prep.readers.tolerances import Leniency
from tests.support.series import SHAPE, on, setting, slice_dataset, write_enhanced, write_series


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def codes(folder: Path) -> list[str | None]:
    errors = [refusal(series) for series in find_series(folder)]
    return [error.code if error else None for error in errors]


@pytest.mark.parametrize("name", ["{:03d}.dcm", "IM{}", "1.2.840.{}", "schädel {}.ima", "{}.jpg"])
def test_files_are_found_at_any_depth_under_any_name(tmp_path, name):
    folder = write_series(tmp_path / "a" / "b c" / "ü", name=name)

    series = only(tmp_path)

    assert refusal(series) is None
    assert len(series.paths) == SHAPE[0]
    assert series.paths[0].parent == folder
    assert series.modality == "ct"
    assert str(series) == "CT, 8 image(s) of 40 x 36"


def test_a_name_that_is_no_text_is_a_name(tmp_path):
    folder = write_series(tmp_path / "a")
    (folder / "000.dcm").rename(folder / os.fsdecode(b"\xff\xfe"))

    assert codes(tmp_path) == [None]


def test_series_in_one_folder_are_told_apart(tmp_path):
    write_series(tmp_path, name="ct{}")
    write_series(tmp_path, modality="MR", name="mr{}")
    write_series(tmp_path, setting(SeriesInstanceUID="1.2.7"), name="second{}")
    write_series(tmp_path, setting(PatientID="other", SeriesInstanceUID="1.2.8"), name="other{}")
    write_enhanced(tmp_path / "enhanced.dcm", setting_all(SeriesInstanceUID="1.2.10"))

    found = find_series(tmp_path)

    assert [series.modality for series in found] == ["ct", "ct", "mri", "ct", "ct"]
    assert {len(series.headers) for series in found} == {8}
    assert codes(tmp_path) == [None] * 5
    assert len({series.name for series in found}) == 5
    assert len({series.identity for series in found}) == 2


def setting_all(**tags):
    return lambda dataset: setting(**tags)(0, dataset)


def test_a_localizer_of_another_direction_in_the_same_series_is_split_off(tmp_path):
    write_series(tmp_path)
    sagittal = slice_dataset("CT", 0, (0, 1, 0, 0, 0, -1))
    sagittal.save_as(tmp_path / "localizer", enforce_file_format=True)

    assert codes(tmp_path) == [None, "too-few-slices"]


def test_names_for_pseudonyms_are_the_same_on_every_run_and_anywhere(tmp_path):
    first, second = write_series(tmp_path / "a"), write_series(tmp_path / "b", name="x{}")

    assert only(first).name == only(second).name
    assert only(first).identity == only(second).identity == "CANARY-ID\0"


def test_without_a_patient_id_the_study_is_the_subject(tmp_path):
    write_series(tmp_path, setting(PatientID=""))

    assert only(tmp_path).identity == "1.2.3"


def test_nothing_that_is_shown_names_a_patient_or_a_path(tmp_path):
    write_series(tmp_path / "CANARY", on(3, PixelSpacing=[1, 1]))
    series = only(tmp_path)

    for text in (repr(series), str(series), str(series.error)):
        assert "CANARY" not in text


OBJECTS = {
    "secondary-capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "structured-report": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"},
    "radiotherapy-object": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"},
    "not-ct-or-mr": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.128", "Modality": "PT"},
    "colour": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
    "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "derived-map": {"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]},
}


@pytest.mark.parametrize("code", OBJECTS)
def test_other_objects_are_skipped_with_a_reason_and_counted(tmp_path, code):
    write_series(tmp_path, name="ct{}")
    write_series(tmp_path, setting(**OBJECTS[code]), name="other{}", without={0, 1, 2, 3, 4, 5})

    volume, other = find_series(tmp_path)

    assert refusal(volume) is None
    assert other.error.code == code
    assert len(other.headers) == 2
    assert other.modality is None


def test_both_sides_of_a_mixed_series_are_refused(tmp_path):
    write_series(tmp_path / "a", setting(PatientID="A"))
    write_series(tmp_path / "b", setting(PatientID="B"))

    assert codes(tmp_path) == ["mixed-patients"] * 2


def test_an_acquisition_over_two_series_is_whole_when_they_are(tmp_path):
    echoes = setting(ImagesInAcquisition=16)
    write_series(tmp_path / "a", echoes)
    assert codes(tmp_path) == ["images-missing"]

    write_series(
        tmp_path / "b",
        lambda index, dataset: (
            echoes(index, dataset),
            setattr(dataset, "SeriesInstanceUID", "1.2.7"),
        ),
    )
    assert codes(tmp_path) == [None, None]


@pytest.mark.parametrize(
    ("without", "found"),
    [((3,), "gap(s) of 6 mm"), ((2, 3), "gap(s) of 9 mm"), ((1, 5), "2 slice(s) missing")],
)
def test_a_missing_slice_is_told_in_mm(tmp_path, without, found):
    write_series(tmp_path, without=without)

    error = refusal(only(tmp_path), Leniency(resample_irregular=True, resample_tilt=True))

    assert error.code == "slice-missing"
    assert found in error.reason
    for index in without:
        assert f"{-90 + 3 * index}" in error.reason


def test_a_tilt_is_found_from_positions_whatever_the_tag_says(tmp_path):
    write_series(tmp_path, setting(GantryDetectorTilt=0), step=(0, 1, 3))
    series = only(tmp_path)

    assert refusal(series).code == "gantry-tilt"
    assert "18.4 degrees" in refusal(series).reason
    assert refusal(series, Leniency(resample_tilt=True)) is None


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: b"",
        lambda whole: bytes(4000),
        lambda whole: whole[:300],
        lambda whole: whole[:140],
        lambda whole: whole[: whole.index(b"1.2.3.9")],
        lambda whole: b"<html>504 Gateway Time-out</html>",
    ],
    ids=["empty", "zeros", "cut early", "cut in the meta header", "cut late", "a web page"],
)
def test_a_damaged_file_refuses_the_series_beside_it(tmp_path, content):
    folder = write_series(tmp_path)
    path = folder / "007.dcm"
    path.write_bytes(content(path.read_bytes()))

    series = only(tmp_path)

    assert series.error.code in ("file-damaged", "header-incomplete")
    assert path in series.paths
    assert "7 of 8" in series.error.reason or "(1)" in series.error.reason


def test_a_damaged_file_between_two_series_stands_for_itself(tmp_path):
    write_series(tmp_path, name="b{}")
    write_series(tmp_path, setting(SeriesInstanceUID="1.2.7"), name="c{}")
    (tmp_path / "empty.dcm").write_bytes(b"")  # left out, and counted with the unread files
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")

    damaged, *series = find_series(tmp_path)

    assert damaged.error.code == "header-damaged"
    assert str(damaged) == "1 unreadable file(s)"
    assert [refusal(one) for one in series] == [None, None]


def test_other_files_and_links_out_of_the_folder_are_nobodys(tmp_path):
    folder = write_series(tmp_path / "in")
    for name in ("README.txt", "T1.nii.gz", ".DS_Store", "scan.zip"):
        (folder / name).write_bytes(b"other content")
    outside = write_series(tmp_path / "out", setting(SeriesInstanceUID="1.2.7"))
    (folder / "link.dcm").symlink_to(outside / "000.dcm")
    (folder / "links").symlink_to(outside)
    (folder / "loop").symlink_to(folder)

    assert codes(folder) == [None]
    assert len(only(folder).headers) == 8


def test_an_empty_folder_has_no_series(tmp_path):
    assert find_series(tmp_path) == []


@pytest.mark.parametrize("name", ["lock", "empty.dcm", "Notes.txt", "series.dcm.tmp"])
@pytest.mark.parametrize("content", [b"", b"no DICOM at all"])
def test_a_stray_file_beside_slices_does_not_cost_the_series(tmp_path, name, content):
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / name).write_bytes(content)

    (series,) = find_series(tmp_path)

    assert series.error is None
    assert not series.damaged
    assert tmp_path / "ct" / name not in series.paths


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        ("{:03d}.dcm", "008.dcm"),
        ("IM{:04d}", "IM0009"),
        ("1.2.840.{}.dcm", "1.2.840.1.99.dcm"),
        ("{:d}", "12"),
    ],
)
def test_an_empty_file_named_like_the_slices_is_a_lost_slice(tmp_path, names, lost):
    write_series(tmp_path / "ct", name=names)
    (tmp_path / "ct" / lost).write_bytes(b"")

    (series,) = find_series(tmp_path)

    assert series.error is not None
    assert series.error.code == "file-damaged"


def test_where_names_have_no_pattern_an_empty_file_may_be_a_slice(tmp_path):
    folder = write_series(tmp_path / "ct")
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{'abcdefgh'[number] * 3}x")
    (folder / "zzz").write_bytes(b"")

    (series,) = find_series(tmp_path)

    assert series.error is not None
