"""DICOM folders become store volumes: real series, refusals with their reason, nobody's name."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import open_store
from tests.support.series import write_series


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def settings(folder: Path, **changes: object) -> ConvertSettings:
    return ConvertSettings(
        **{
            "out": folder / "store.zarr",
            "spacing_mm": (6.0, 4.0, 4.0),
            "size": (64, 64),
            "workers": 0,
            **changes,
        }
    )


def test_a_study_with_both_modalities_gives_each_folder_its_own(shared, tmp_path):
    study = unpacked(shared / "dicom/mirp_STS_002_CT_MR_T1.tar.gz", tmp_path / "study")

    report = convert(settings(tmp_path, mri=study, ct=study))

    assert (report.written, report.refused) == (2, ())
    assert report.skipped == {"DICOM: other-modality": 2}
    store = open_store(tmp_path / "store.zarr")
    ct, mri = store.volumes
    assert (mri.modality, ct.modality) == ("mri", "ct")
    assert mri.subject == ct.subject, "DICOM says that it is one patient"
    assert mri.split == ct.split
    tissue = store.voxels(ct)[store.body(ct) > 0]
    assert -150 < np.median(tissue) < 100  # a thigh: muscle and fat

    again = convert(settings(tmp_path, mri=study, ct=study))
    assert (again.written, again.kept) == (0, 2)


def test_a_tilted_uneven_head_is_refused_with_what_was_found(shared, tmp_path):
    head = unpacked(shared / "dicom/dcm_qa_ct_GE_tilt18.5_28slices.tar.gz", tmp_path / "head")

    report = convert(settings(tmp_path, ct=head))

    (refusal,) = report.refused
    for found in ("18.5 degrees", "4 mm", "7 mm", "1.08 mm"):
        assert found in str(refusal)
    assert report.written == 0


def test_no_patient_text_reaches_the_store(tmp_path):
    write_series(tmp_path / "dicom" / "CANARY_JANE")

    report = convert(settings(tmp_path, ct=tmp_path / "dicom"))

    assert report.written + len(report.refused) == 1
    for path in (tmp_path / "store.zarr").rglob("*"):
        assert "CANARY" not in str(path.relative_to(tmp_path))
        if path.is_file():
            assert b"CANARY" not in path.read_bytes().upper()


def test_a_study_in_one_frame_of_reference_becomes_a_pair_on_one_grid(shared, tmp_path):
    study = unpacked(shared / "dicom/mirp_STS_002_CT_MR_T1.tar.gz", tmp_path / "study")

    report = convert(settings(tmp_path, mri=study, ct=study, paired=True))

    assert report.written == 2
    ct, mri = open_store(tmp_path / "store.zarr").volumes
    assert (mri.link, ct.link) == (ct.name, mri.name)
    np.testing.assert_array_equal(ct.affine, mri.affine)
    assert ct.shape == mri.shape


def test_a_folder_without_volumes_says_what_it_holds(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/notes.txt").write_text("nothing")

    with pytest.raises(ValueError, match=r"no DICOM series of this modality.*1 file"):
        convert(settings(tmp_path, ct=tmp_path / "texts"))
