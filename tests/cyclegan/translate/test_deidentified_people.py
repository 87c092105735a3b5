"""De-identified results never give two people one PatientID."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from cyclegan.translate.dicom_source import Origin, deidentify, origin_of_series
from data_prep.convert.pseudonyms import Key
from data_prep.dicom.series import find_series
from tests.support.series import setting, write_series

KEY = Key(secret=b"k" * 32)


def ids(people: list[dict[str, str]], folder: Path) -> list[str]:
    """The PatientIDs that series with these headers get."""
    found = []
    for number, tags in enumerate(people):
        uids = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"2.{number}"}
        path = write_series(folder / str(number), setting(**uids | tags), modality="MR")
        (series,) = find_series(path)
        found.append(deidentify(origin_of_series(series), KEY).tags.PatientID)
    return found


@pytest.mark.parametrize(
    "people",
    [
        [{"PatientID": "", "PatientName": f"A^{n}"} for n in range(3)],
        [{"PatientID": " ", "PatientName": "ANON"} for _ in range(3)],
        [{"PatientID": "ANON", "PatientName": f"A^{n}"} for n in range(3)],
        [{"PatientID": "0", "PatientBirthDate": f"1950010{n}"} for n in range(1, 4)],
        [{"PatientID": "1", "IssuerOfPatientID": f"Site {n}"} for n in range(3)],
    ],
    ids=["no ID", "blank ID", "placeholder", "birth dates", "issuers"],
)
def test_different_people_get_different_ids(people, tmp_path):
    assert len(set(ids(people, tmp_path))) == 3


def test_one_person_gets_one_id_however_the_name_is_written(tmp_path):
    names = ("Doe^Jane", "DOE^JANE^^")

    assert len(set(ids([{"PatientID": "1", "PatientName": name} for name in names], tmp_path))) == 1


def test_series_of_one_study_without_an_id_stay_together():
    tags = Dataset()
    tags.StudyInstanceUID, tags.FrameOfReferenceUID = "1.2", "1.3"
    origin = Origin(tags=tags, references=())

    assert deidentify(origin, KEY).tags.PatientID == deidentify(origin, KEY).tags.PatientID
