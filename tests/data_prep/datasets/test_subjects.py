"""Whose scan it is: what headers leave in doubt is said, and a rule can decide otherwise."""

import pytest

from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.folders import find_in_folders
from data_prep.readers.tolerances import Leniency
from tests.support.series import setting, write_series


def find(root, people: list[dict[str, str]], **choices: str) -> FoundVolumes:
    """Write a series for each of the headers, in a folder of its own, and find them."""
    for number, tags in enumerate(people):
        uids = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"2.{number}"}
        write_series(root / f"mri/p{number}", setting(**uids | tags), modality="MR")
    return find_in_folders({"mri": root / "mri"}, Leniency(), **choices)


def subjects(found: FoundVolumes) -> int:
    return len({volume.subject for volume in found.volumes})


TWELVE = [
    {"PatientID": "ANON", "PatientName": f"Secret^{n}", "PatientBirthDate": f"19{n + 40}0101"}
    for n in range(4)
]


def test_several_people_under_one_id_are_said_and_can_be_parted(tmp_path):
    found = find(tmp_path, TWELVE)

    assert subjects(found) == 1
    (remark,) = found.remarks
    assert "patient name (1 PatientID(s), up to 4 different)" in remark
    assert "birth date (1 PatientID(s), up to 4 different)" in remark
    assert "--subject-by study" in remark
    assert "secret" not in remark.lower()
    assert "ANON" not in remark
    assert "Secret" not in repr(found.volumes[0].series)


@pytest.mark.parametrize("rule", ["study", "folder"])
def test_another_rule_parts_them_without_a_remark(tmp_path, rule):
    found = find(tmp_path, TWELVE, subject_by=rule)

    assert subjects(found) == 4
    assert not found.remarks


def test_two_sites_that_count_alike_are_said(tmp_path):
    sites = [{"PatientID": "001", "InstitutionName": f"Site {n}"} for n in range(2)]

    (remark,) = find(tmp_path, sites).remarks

    assert "institution (1 PatientID(s), up to 2 different)" in remark
    assert "Site" not in remark


def test_issuers_part_subjects_and_that_is_said(tmp_path):
    found = find(tmp_path, [{"PatientID": "1", "IssuerOfPatientID": issuer} for issuer in "AB"])

    assert subjects(found) == 2
    assert "up to 2 different issuers" in found.remarks[0]


@pytest.mark.parametrize("patient_id", ["", "  "])
def test_without_an_id_each_study_is_a_subject_and_that_is_said(tmp_path, patient_id):
    found = find(tmp_path, [{"PatientID": patient_id}] * 3)

    assert subjects(found) == 3
    assert "3 DICOM series have no PatientID" in found.remarks[0]


def test_spellings_of_one_name_are_one_name(tmp_path):
    names = ["Doe^Jane", "DOE^JANE^^", "Doe Jane", ""]

    assert not find(tmp_path, [{"PatientID": "1", "PatientName": name} for name in names]).remarks
