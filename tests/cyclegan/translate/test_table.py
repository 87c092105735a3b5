"""A contrast table is translated with like a model, and says what it does not know."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cyclegan.contrast.fit import table_of_scans
from cyclegan.contrast.table_file import parse_table, table_bytes
from cyclegan.export.metadata import TableInfo
from cyclegan.export.model_folder import publish_folder
from cyclegan.export.table_model import read_table_model, write_table_model
from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.engine import TableEngine, prepare_input
from cyclegan.translate.summary import LIST
from cyclegan.translate.translate import translate_inputs
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti, write_nifti
from data_prep.store.subject_record import UNKNOWN_SUBJECTS
from mrct.errors import ExitCode, UsageError
from mrct.imaging.volume import Volume
from tests.cyclegan.translate.conftest import centred
from tests.support.stores import random_head

SHAPE = (12, 44, 36)
AFFINE = centred(np.diag([-5.0, -5.0, 15.0]), SHAPE)
SPEC = PreprocessingSpec(spacing_mm=(15.0, 5.0, 5.0), size=(48, 48))
TABLE_INFO = TableInfo(
    contrast_table="",
    preprocessing=SPEC,
    run="one",
    store_fingerprint="f" * 16,
    store_contents="c" * 16,
)


def someone(seed: int) -> dict[str, Volume]:
    """MRI and CT of one head."""
    scans = random_head(np.random.default_rng(seed), SHAPE)
    return {
        kind: Volume(
            voxels=scans[kind].astype(np.float32), affine=AFFINE, modality=kind, pseudonym="head"
        )
        for kind in ("mri", "ct")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The table of two MRIs and two CTs of four people."""
    scans = {
        kind: [
            (each.voxels, each.body, each.height, SPEC.spacing_mm[1:])
            for seed in seeds
            for each in [prepare_input(TABLE_INFO, someone(seed)[kind])]
        ]
        for kind, seeds in (("mri", (1, 2)), ("ct", (3, 4)))
    }
    table = table_of_scans(scans["mri"], scans["ct"])
    content = table_bytes(table, store_fingerprint="f" * 16, store_contents="c" * 16)
    info = replace(TABLE_INFO, contrast_table=parse_table(content, "table").sha256)
    folder = tmp_path_factory.mktemp("table") / "model_table"
    publish_folder(
        folder, partial(write_table_model, info=info, table=content, subjects=UNKNOWN_SUBJECTS)
    )
    return folder


def command(folder: Path, path: Path, change=lambda mri: mri, **options) -> TranslateCommand:
    """Translate a fifth person into `out` beside the file."""
    write_nifti(path / "a.nii.gz", change(someone(5)["mri"].voxels), AFFINE)
    words = {"keep_names": True, "out": path / "out"} | options
    return TranslateCommand(model=folder, inputs=(path / "a.nii.gz",), **words)


def test_a_head_becomes_its_ct_on_its_own_grid(folder, tmp_path):
    assert translate_inputs(command(folder, tmp_path, preview=True)) == ExitCode.DONE

    result = nibabel.load(tmp_path / "out/a_synthetic-ct.nii.gz")
    np.testing.assert_allclose(result.affine, nibabel.load(tmp_path / "a.nii.gz").affine, atol=1e-3)
    engine = TableEngine(model=read_table_model(folder))
    volume = read_nifti(tmp_path / "a.nii.gz", modality="mri", pseudonym="")
    shown = prepare_input(engine.info, volume)
    hu = read_nifti(tmp_path / "out/a_synthetic-ct.nii.gz", modality="ct", pseudonym="").voxels
    expected = engine.values(shown)[shown.body]
    assert (hu.min(), hu.max()) == (-1024, round(float(expected.max())))
    real = someone(5)["ct"].voxels
    inside = real > -900
    assert (
        np.abs(hu - real)[inside].mean() < 0.5 * np.abs(real - real[inside].mean())[inside].mean()
    )
    (line,) = (tmp_path / "out" / LIST).read_text().splitlines()
    assert json.loads(line)["warnings"] == []


def test_an_mri_of_another_contrast_is_a_warning(folder, tmp_path):
    def fat_like_bone(mri):
        return np.select([mri > 700, (mri > 30) & (mri < 150)], [90, 900], mri)

    assert translate_inputs(command(folder, tmp_path, fat_like_bone)) == ExitCode.DONE

    (line,) = (tmp_path / "out" / LIST).read_text().splitlines()
    (warning,) = json.loads(line)["warnings"]
    assert warning.startswith("The MRI is unlikely at its positions: -")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"uncertainty": True}, "--uncertainty"),
        ({"outside_body": "network"}, "--outside-body network"),
        ({"engine": "onnxruntime", "compile": True}, "--engine onnxruntime and --compile"),
        ({"direction": "ct-to-mri"}, "--direction ct-to-mri"),
    ],
)
def test_what_needs_a_network_is_refused(folder, tmp_path, options, named):
    with pytest.raises(UsageError, match=f"without a network. Leave out {named}"):
        translate_inputs(command(folder, tmp_path, **options))
