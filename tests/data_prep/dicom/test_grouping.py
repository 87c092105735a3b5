"""Slices to groups: what belongs together is joined, and nothing else is."""

import pytest

from data_prep.dicom.series import Series, find_series, refusal
from tests.support.series import both, setting, write_series


def uid_per_slice(index, dataset):
    """As Canon writes classic MR: the last part of the series UID counts slices."""
    setting(SeriesInstanceUID=f"1.2.3.4.{index + 1}", SeriesNumber=7)(index, dataset)


def groups(folder) -> list[Series]:
    return [series for series in find_series(folder) if refusal(series) is None]


def test_slices_with_a_series_uid_each_are_one_series(tmp_path):
    write_series(tmp_path, uid_per_slice)

    (series,) = groups(tmp_path)

    assert len(series.headers) == 8
    assert series.was_split


def test_two_such_series_of_one_study_stay_two(tmp_path):
    write_series(tmp_path, uid_per_slice, name="a{}")
    second = lambda i, d: setting(SeriesInstanceUID=f"1.2.3.5.{i + 1}", SeriesNumber=8)(i, d)  # noqa: E731
    write_series(tmp_path, second, name="b{}")

    assert [len(series.headers) for series in groups(tmp_path)] == [8, 8]


@pytest.mark.parametrize(
    "apart",
    [
        lambda i, d: setattr(d, "SeriesNumber", i),
        lambda i, d: setattr(d, "StudyInstanceUID", f"1.2.{i}"),
        lambda i, d: setattr(d, "PatientID", str(i)),
        lambda i, d: setattr(d, "AcquisitionNumber", i),
        lambda i, d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", str(i)]),
        lambda i, d: setattr(d, "SeriesInstanceUID", f"1.2.3.{i}.1"),
    ],
    ids=["series number", "study", "patient", "acquisition", "kind of image", "stem of the UID"],
)
def test_single_slices_that_differ_in_more_than_the_uid_are_not_joined(tmp_path, apart):
    write_series(tmp_path, both(uid_per_slice, apart))

    found = find_series(tmp_path)

    assert len(found) == 8
    assert {refusal(series).code for series in found} <= {"too-few-slices", "mixed-patients"}


def test_joined_slices_with_a_gap_are_refused_as_any_other(tmp_path):
    write_series(tmp_path, uid_per_slice, without={3})

    (series,) = find_series(tmp_path)

    assert refusal(series).code == "slice-missing"


def test_two_echoes_in_two_series_are_two_volumes(tmp_path):
    write_series(tmp_path, setting(EchoTime=22), modality="MR", name="a{}")
    write_series(
        tmp_path, setting(EchoTime=90, SeriesInstanceUID="1.2.9"), modality="MR", name="b{}"
    )

    assert [len(series.headers) for series in groups(tmp_path)] == [8, 8]
