"""A folder per modality: whose a volume is, and what is left alone."""

from pathlib import Path

import pytest

from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.folders import find_in_folders
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from tests.support.series import write_series
from tests.support.volumes import touch_files


def find(root: Path, **choices: bool) -> FoundVolumes:
    return find_in_folders({"mri": root / "mri", "ct": root / "ct"}, Leniency(), **choices)


def subjects(findings: FoundVolumes, modality: str) -> list[str]:
    return [volume.subject for volume in findings.volumes if volume.modality == modality]


def test_a_file_at_the_top_is_a_subject_and_a_folder_of_files_is_one(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "mri/P1/t1.nii", "mri/P1/later/t2.nii", "ct/b.nii")

    found = find(tmp_path)

    assert [v.label for v in found.volumes] == ["a", "P1", "P1", "b"]
    assert len({volume.name for volume in found.volumes}) == 4


def test_equal_names_on_both_sides_are_two_people_and_that_is_said(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "mri/b.nii", "ct/a.nii.gz", "ct/c.nii")

    found = find(tmp_path)

    assert not set(subjects(found, "mri")) & set(subjects(found, "ct"))
    assert "1 name(s) occur below both" in found.remarks[0]
    assert "--same-subjects" in found.remarks[0]


def test_equal_names_can_be_one_person_without_being_a_pair(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "ct/a.nii")

    found = find(tmp_path, same_subjects=True)

    assert subjects(found, "mri") == subjects(found, "ct")
    assert not found.remarks
    assert not any(volume.pair for volume in found.volumes)


def test_a_mixed_dicom_study_is_named_at_both_and_knows_its_patient(tmp_path):
    write_series(tmp_path / "study/a", modality="CT")
    write_series(tmp_path / "study/deep/b", modality="MR")

    folders = {"mri": tmp_path / "study", "ct": tmp_path / "study"}
    found = find_in_folders(folders, Leniency())

    assert [volume.modality for volume in found.volumes] == ["mri", "ct"]
    assert len({volume.subject for volume in found.volumes}) == 1
    assert {volume.label for volume in found.volumes} == {"CANARY-ID"}
    assert found.skipped == {"DICOM: other-modality": 2}


def test_a_file_below_both_folders_is_refused_since_nothing_says_what_it_is(tmp_path):
    touch_files(tmp_path, "all/a.nii", "all/ct/b.nii")

    with pytest.raises(UsageError, match=r"1 file.s. lie below both --mri and --ct"):
        find_in_folders({"mri": tmp_path / "all", "ct": tmp_path / "all/ct"}, Leniency())


def test_a_folder_without_volumes_is_named_with_what_it_holds(tmp_path):
    write_series(tmp_path / "mri", modality="CT")

    with pytest.raises(UsageError, match=r"8 files, 1 x DICOM: other-modality"):
        find_in_folders({"mri": tmp_path / "mri"}, Leniency())


def test_no_repr_shows_a_name(tmp_path):
    touch_files(tmp_path, "mri/Doe^Jane/t1.nii", "ct/b.nii")

    assert "Doe" not in repr(find(tmp_path))
