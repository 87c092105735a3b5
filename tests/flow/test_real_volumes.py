"""Real heads through every stage: obliques, LPS storage, float64 and uint16, 0.5 to 5.4 mm."""

import tarfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from cyclegan.config.config import DiscriminatorConfig, GeneratorConfig
from cyclegan.config.files import resolve
from cyclegan.config.presets import demo
from cyclegan.evaluate.command import EvaluateCommand as Evaluate
from cyclegan.evaluate.results import write_results as evaluate
from cyclegan.export.command import ExportCommand as Export
from cyclegan.export.export import export
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.translate.command import TranslateCommand as Translate
from cyclegan.translate.translate import translate_inputs
from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from mrct.errors import ExitCode

pytestmark = pytest.mark.slow
STEPS = 200


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where real heads were converted, and small networks trained on them for a while."""
    folder = tmp_path_factory.mktemp("real")
    report = convert(
        ConvertSettings(
            out=folder / "heads.zarr",
            mri=shared / "mri_head",
            mri_kind=("all",),  # T1 and T2
            ct=shared / "ct_head",
            spacing_mm=(4.0, 4.0, 4.0),
            size=(64, 64),
            workers=0,
        )
    )
    assert report.refused == ()
    base = demo()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder / "runs"), name="real"),
            data=replace(base.data, store=str(folder / "heads.zarr")),
            generator=GeneratorConfig(filters=8, blocks=3),
            discriminator=DiscriminatorConfig(filters=8, norm="instance", spectral=False),
            train=replace(base.train, max_steps=STEPS, compile="no", precision="fp32"),
        )
    )
    train_worker(config, Worker())
    return folder


def test_cycles_are_scored_though_no_pair_exists(folder):
    assert evaluate(Evaluate(run=folder / "runs/real")) == ExitCode.DONE

    report = (folder / "runs/real/evaluation_test/report.html").read_text()
    assert "No MRI of the test split has a real CT" in report


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    assert export(Export(run_folder=folder / "runs/real")) == ExitCode.DONE
    return folder / "runs/real/model_to_ct"


def test_every_real_mri_becomes_a_ct_in_both_formats(model, shared, tmp_path):
    for archive in (shared / "dicom").glob("*.tar.gz"):
        with tarfile.open(archive) as files:
            files.extractall(tmp_path / "dicom" / archive.name[:8], filter="data")
    thigh = shared / "paired_thigh" / "STS_002_MR_T1.nii.gz"
    inputs = (shared / "mri_head", thigh, tmp_path / "dicom")
    for form in ("nifti", "dicom"):
        out = tmp_path / "out" / form
        command = Translate(model=model, inputs=inputs, out=out, format=form)

        assert translate_inputs(command) == ExitCode.DONE

        results = sorted(out.glob("*_synthetic-ct*"))
        assert len(results) == 6 + 1 + 2
    for path in results:
        nifti = nibabel.load(tmp_path / "out" / "nifti" / f"{path.name}.nii.gz")
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
        assert sorted(image.GetSize()) == sorted(nifti.shape)
        hu = np.asarray(nifti.dataobj)
        found = SimpleITK.GetArrayFromImage(image)
        assert found.dtype == np.int16
        np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(hu, axis=None))
        assert (hu > -700).mean() > 0.02


def test_a_real_mri_becomes_a_ct_on_its_own_grid(model, folder, shared):
    source = shared / "mri_head" / "openms_patient04_study1_T1W.nii.gz"
    command = Translate(model=model, inputs=(source,), out=folder / "synthetic")

    assert translate_inputs(command) == ExitCode.DONE

    mri = nibabel.load(source)
    ct = nibabel.load(next((folder / "synthetic").glob("*_synthetic-ct.nii.gz")))
    hu = np.asarray(ct.dataobj)
    assert ct.shape == mri.shape
    np.testing.assert_allclose(ct.affine, mri.affine, atol=1e-3)
    assert -1024 <= hu.min() <= hu.max() <= 3071
    magnitude = np.asarray(mri.dataobj)
    corners = hu[:8, :8], hu[-8:, :8], hu[:8, -8:], hu[-8:, -8:]
    assert all(corner.max() < -900 for corner in corners)  # air outside the head
    head = magnitude > np.percentile(magnitude, 80)
    assert np.median(hu[head]) > -300  # and a head inside
