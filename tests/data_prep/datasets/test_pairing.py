"""Pairs follow from names and frames of reference; what is doubtful is not guessed."""

from pathlib import Path

import pytest

from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.folders import find_in_folders
from data_prep.readers.tolerances import Leniency
from tests.support.series import STEP_MM, write_series
from tests.support.volumes import touch_files


def paired(root: Path, leniency: Leniency | None = None) -> FoundVolumes:
    folders = {"mri": root / "mri", "ct": root / "ct"}
    return find_in_folders(folders, leniency or Leniency(), paired=True)


def pairs(findings: FoundVolumes) -> list[list[str]]:
    """The names of each pair."""
    keys = dict.fromkeys(volume.pair for volume in findings.volumes if volume.pair)
    return [[v.name for v in findings.volumes if v.pair == key] for key in keys]


def test_equal_relative_names_are_a_pair_whatever_the_suffix(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "mri/P/1.nii", "mri/P/2.nii", "mri/x.nii")
    touch_files(tmp_path, "ct/a.nii.gz", "ct/P/1.nii", "ct/P/2.mha", "ct/y.nii")

    found = paired(tmp_path)

    assert sorted(map(sorted, pairs(found))) == [
        ["P/1.nii", "P/1.nii"],
        ["P/2.mha", "P/2.nii"],
        ["a.nii", "a.nii.gz"],
    ]
    assert not found.remarks


def test_the_only_mri_and_the_only_ct_of_a_subject_are_a_pair(tmp_path):
    touch_files(tmp_path, "mri/P1/t1.nii", "ct/P1/planning.nii")

    assert pairs(paired(tmp_path)) == [["P1/t1.nii", "P1/planning.nii"]]


def test_what_could_be_several_pairs_is_none_and_that_is_said(tmp_path):
    touch_files(tmp_path, "mri/P1/t1.nii", "mri/P1/t2.nii", "ct/P1/planning.nii")
    touch_files(tmp_path, "mri/P2/t1.nii", "ct/P2/planning.nii")

    found = paired(tmp_path)

    assert pairs(found) == [["P2/t1.nii", "P2/planning.nii"]]
    assert "1 subject(s) have several MRIs or CTs" in found.remarks[0]


def place(frame: str, series: str, patient: str = "P"):
    def change(index, dataset):
        dataset.FrameOfReferenceUID, dataset.SeriesInstanceUID = frame, series
        dataset.PatientID = patient

    return change


def test_dicom_of_one_patient_in_one_frame_of_reference_is_a_pair(tmp_path):
    write_series(tmp_path / "mri/a", place("1.1", "2.1"), modality="MR")
    write_series(tmp_path / "mri/b", place("1.2", "2.2"), modality="MR")
    write_series(tmp_path / "ct/a", place("1.1", "2.3"), modality="CT")
    write_series(tmp_path / "ct/b", place("1.2", "2.4", "Q"), modality="CT")

    found = paired(tmp_path)

    assert [[v.path.name for v in found.volumes if v.pair]] == [["a", "a"]]
    assert not found.remarks


def test_of_several_series_in_one_frame_the_one_of_most_images_counts(tmp_path):
    write_series(tmp_path / "mri/few", place("1.1", "2.1"), modality="MR", without=(6, 7))
    write_series(tmp_path / "mri/most", place("1.1", "2.2"), modality="MR")
    write_series(tmp_path / "ct/one", place("1.1", "2.3"), modality="CT")

    found = paired(tmp_path)

    assert [v.path.name for v in found.volumes if v.pair] == ["most", "one"]
    assert "1 patient(s) have several series in one frame of reference" in found.remarks[0]


@pytest.mark.parametrize(("resample_tilt", "partner"), [(False, "small"), (True, "tilted")])
def test_a_series_that_its_headers_rule_out_has_no_partner(tmp_path, resample_tilt, partner):
    lean = (0, 0.3 * STEP_MM, STEP_MM)
    write_series(tmp_path / "mri/tilted", place("1.1", "2.1"), modality="MR", step=lean)
    write_series(tmp_path / "mri/small", place("1.1", "2.2"), modality="MR", without=(6, 7))
    write_series(tmp_path / "ct/one", place("1.1", "2.3"), modality="CT")

    found = paired(tmp_path, Leniency(resample_tilt=resample_tilt))

    assert [v.path.name for v in found.volumes if v.pair] == [partner, "one"]
