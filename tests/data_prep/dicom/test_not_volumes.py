"""Localizers that no word names, and series that fail as a whole: one entry each, and why."""

from copy import deepcopy
from math import cos, radians, sin

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from data_prep.dicom.series import find_series, refusal
from tests.support.series import on, setting, write_enhanced, write_series

SAGITTAL, CORONAL = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)


def codes(folder) -> list[str | None]:
    return [error.code if (error := refusal(each)) else None for each in find_series(folder)]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_few_slices_in_crossing_directions_are_a_localizer(tmp_path, modality):
    write_series(tmp_path, modality=modality, name="a{}")
    write_series(tmp_path, modality=modality, orientation=SAGITTAL, name="b{}")
    write_series(tmp_path, modality=modality, orientation=CORONAL, name="c{}")

    found = find_series(tmp_path)

    assert codes(tmp_path) == ["localizer"] * 3
    assert {series.modality for series in found} == {None}
    assert {series.kind for series in found} == {"topogram" if modality == "CT" else "localizer"}
    assert [refusal(series.if_asked) for series in found] == [None] * 3


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize(("step_mm", "expected"), [(22.4, "localizer"), (10.0, None), (6.6, None)])
def test_slices_far_apart_are_a_localizer(tmp_path, modality, step_mm, expected):
    write_series(tmp_path, modality=modality, step=(0, 0, step_mm))

    assert codes(tmp_path) == [expected]


def test_series_of_their_own_in_crossing_directions_are_no_localizer(tmp_path):
    write_series(tmp_path, name="a{}")
    write_series(tmp_path, setting(SeriesInstanceUID="1.2.9"), orientation=SAGITTAL, name="b{}")

    assert codes(tmp_path) == [None, None]


def test_a_map_beside_anatomy_in_one_series_takes_nothing_with_it(tmp_path):
    write_series(tmp_path, modality="MR", name="a{}")
    adc = setting(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])
    write_series(tmp_path, adc, modality="MR", name="b{}")

    anatomy, other = find_series(tmp_path)

    assert refusal(anatomy) is None
    assert (other.error.code, other.kind) == ("derived-map", "ADC")
    assert (other.if_asked.modality, refusal(other.if_asked)) == ("mri", None)


@pytest.mark.parametrize(
    "tags",
    [
        {"EchoTime": b"4,6"},
        {"SeriesNumber": b"A12"},
        {"AcquisitionNumber": b"ONE "},
        {"ImagesInAcquisition": b"many"},
        {"RepetitionTime": b"fast"},
        {"TriggerTime": b"--"},
    ],
    ids=str,
)
def test_a_tag_that_nothing_depends_on_damages_no_file(tmp_path, tags):
    folder = write_series(tmp_path, modality="MR")
    for path in folder.iterdir():
        with_raw(path, **tags)

    assert codes(tmp_path) == [None]


@pytest.mark.parametrize(
    ("tags", "code", "said"),
    [
        ({"RescaleSlope": b"1,0 "}, "header-unusable", "RescaleSlope is no number on 1 of 8"),
        ({"RescaleIntercept": b"air "}, "header-unusable", "RescaleIntercept is no number on 1"),
        ({"PixelSpacing": b"0,9\\0,8 "}, "header-incomplete", "PixelSpacing on 1 of 8"),
        ({"ImagePositionPatient": b"left"}, "header-incomplete", "ImagePositionPatient on 1 of 8"),
    ],
    ids=str,
)
def test_a_tag_that_is_needed_is_named(tmp_path, tags, code, said):
    with_raw(write_series(tmp_path) / "003.dcm", **tags)

    (series,) = find_series(tmp_path)

    assert series.error.code == code
    assert said in series.error.reason


def with_raw(path, **tags: bytes) -> None:
    """Write values that pydicom would not."""
    dataset = dcmread(path)
    for keyword, value in tags.items():
        tag = Tag(tag_for_keyword(keyword))
        vr = dictionary_VR(tag)
        dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    dataset.save_as(path)


def test_a_frame_of_reference_for_every_slice_is_one_entry(tmp_path):
    write_series(tmp_path, lambda i, d: setattr(d, "FrameOfReferenceUID", f"1.2.3.{i}"))

    (series,) = find_series(tmp_path)

    assert series.error.code == "mixed-volumes"
    assert "Each of 8 images has its own FrameOfReferenceUID" in series.error.reason
    assert "anonymise again" in series.error.remedy


@pytest.mark.parametrize(
    "change",
    [
        lambda i, d: setattr(d, "FrameOfReferenceUID", f"1.2.3.{i % 2}"),
        lambda i, d: setattr(d, "ImageOrientationPatient", turned(10 * i)),
        on(5, FrameOfReferenceUID="1.2.3.10"),
    ],
    ids=["two frames of reference", "radial", "one odd slice"],
)
def test_a_series_that_fails_is_one_entry_whatever_its_slices_say(tmp_path, change):
    write_series(tmp_path, change)

    (series,) = find_series(tmp_path)

    assert refusal(series).code in ("mixed-volumes", "too-few-slices")
    assert len(series.headers) == 8


def turned(degrees: float) -> list[float]:
    angle = radians(degrees)
    return [round(cos(angle), 6), round(sin(angle), 6), 0, 0, 0, -1]


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(4000)], ids=["empty", "page", "zeros"])
def test_damaged_files_of_a_folder_are_one_entry(tmp_path, content):
    write_series(tmp_path / "sound")
    for number in range(12):
        path = tmp_path / "bad" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    damaged, sound = find_series(tmp_path)

    assert refusal(sound) is None
    assert "12 files of one folder cannot be read" in damaged.error.reason
    assert len(damaged.paths) == 12


def test_an_enhanced_object_of_two_directions_is_a_localizer(tmp_path):
    def half_sagittal(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        turned = shared.PlaneOrientationSequence
        del shared.PlaneOrientationSequence
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame.PlaneOrientationSequence = deepcopy(turned)
            if number < 4:
                frame.PlaneOrientationSequence[0].ImageOrientationPatient = list(SAGITTAL)
                frame.PlanePositionSequence[0].ImagePositionPatient = [3 * number, 0, 0]

    write_enhanced(tmp_path / "a.dcm", half_sagittal)

    assert set(codes(tmp_path)) == {"localizer"}
