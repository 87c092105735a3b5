"""SynthRAD's cases come as pairs with a mask, in both years' folders and formats."""

import pytest

from data_prep.datasets.synthrad import find_in_synthrad
from mrct.errors import UsageError
from tests.support.volumes import touch_files


@pytest.mark.parametrize(
    ("case", "suffix"),
    [
        ("Task1/brain/1BA001", ".nii.gz"),
        ("synthRAD2025_Task1_Train/Task1/HN/1HNA001", ".mha"),
        ("1BA001", ".nii"),
    ],
)
def test_a_case_is_a_pair_with_its_mask(tmp_path, case, suffix):
    touch_files(tmp_path, *(f"{case}/{name}{suffix}" for name in ("mr", "ct", "mask")))
    touch_files(tmp_path, f"{case}/../overview/1BA001_train.png", f"{case}/../overviews/table.xlsx")

    mri, ct = find_in_synthrad(tmp_path).volumes

    assert (mri.modality, ct.modality) == ("mri", "ct")
    assert mri.pair == ct.pair is not None
    assert mri.subject == ct.subject == case.split("/")[-1]
    assert mri.mask == ct.mask == tmp_path / case / f"mask{suffix}"


def test_a_validation_case_has_no_ct_and_no_partner(tmp_path):
    touch_files(tmp_path, "AB/1ABA002/mr.mha", "AB/1ABA002/mask.mha")

    (volume,) = find_in_synthrad(tmp_path).volumes

    assert (volume.modality, volume.pair) == ("mri", None)


def test_cases_of_the_cone_beam_task_are_skipped_and_counted(tmp_path):
    touch_files(tmp_path, "Task2/brain/2BA001/cbct.nii.gz", "Task2/brain/2BA001/ct.nii.gz")
    with pytest.raises(UsageError, match=r"no case.*1 x SynthRAD: case with cone-beam CT"):
        find_in_synthrad(tmp_path)

    touch_files(tmp_path, "Task1/brain/1BA001/mr.nii.gz")
    assert len(find_in_synthrad(tmp_path).volumes) == 1
