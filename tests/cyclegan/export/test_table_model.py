"""A run's contrast table as a model folder, and the code of its card, which needs no project."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.contrast.table_file import TABLE_FILE, read_table, table_bytes
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.errors import ModelError
from cyclegan.export.command import ExportCommand
from cyclegan.export.export import export
from cyclegan.export.model_folder import CARD, PICTURE, SUMS, TABLE_CONTENT, read_model
from cyclegan.export.table_model import is_table_model, read_table_model
from cyclegan.train.checkpoint.run_record import record_environment
from data_prep.dicom.image_kind import PHANTOM
from data_prep.store.store import Store
from mrct.errors import ExitCode, UsageError
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

ALONE = """
import sys
forbidden = "torch cyclegan mrct data_prep monai zarr nibabel safetensors onnxruntime".split()
sys.modules.update(dict.fromkeys(forbidden))  # None: an import raises
exec(sys.stdin.read())
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    path = tmp_path_factory.mktemp("table") / "s.zarr"
    return make_store(path, mri=2, ct=2, shape=(7, 48, 40), splits=("train", "test"), kind=PHANTOM)


@pytest.fixture(scope="module")
def table(store) -> bytes:
    return table_bytes(
        fit_train_table(store, workers=0).table,
        store_fingerprint=store.fingerprint,
        store_contents=store.contents,
    )


@pytest.fixture
def config(tmp_path, store) -> Config:
    """The configuration of a run with a folder and no checkpoint: none is needed."""
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, name="one", storage=str(tmp_path)),
            data=replace(base.data, store=str(store.path)),
        )
    )
    config.run_folder.mkdir()
    (config.run_folder / "config.yaml").write_text(to_yaml(config))
    record_environment(config.run_folder, store, 1)
    return config


@pytest.fixture
def folder(config, table) -> Path:
    (config.run_folder / TABLE_FILE).write_bytes(table)
    assert export(ExportCommand(run_folder=config.run_folder, table=True)) == ExitCode.DONE
    return config.run_folder / "model_table"


def test_the_folder_has_the_table_and_what_it_was_made_of(folder, store):
    assert sorted(path.name for path in folder.iterdir()) == sorted([*TABLE_CONTENT, PICTURE, SUMS])
    assert is_table_model(folder)
    model = read_table_model(folder)

    kept = read_table(LocalPath(folder / TABLE_FILE))
    assert model.info.contrast_table == model.kept.sha256 == kept.sha256
    assert model.info.store_contents == store.contents
    assert model.info.trained_on.volumes == 1
    assert model.info.seen_line == "Trained on 2 phantoms, no person: 1 MRI, 1 CT"
    assert f"({PICTURE})" in (folder / CARD).read_text()
    assert kept.sha256 in (folder / CARD).read_text()
    with pytest.raises(ModelError, match="is a contrast table and has no network"):
        read_model(folder)


@pytest.mark.parametrize("name", [*TABLE_CONTENT, PICTURE, SUMS])
def test_a_flipped_bit_anywhere_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(ModelError, match="is damaged"):
        read_table_model(folder)


def test_a_run_without_a_table_or_another_direction_is_refused(config, table):
    command = ExportCommand(run_folder=config.run_folder, table=True)
    with pytest.raises(ModelError, match=r"no contrast table\. Fit it first: python -m"):
        export(command)
    (config.run_folder / TABLE_FILE).write_bytes(table)
    with pytest.raises(UsageError, match="--direction is for generators"):
        export(replace(command, direction="both"))
    with pytest.raises(UsageError, match="--checkpoint, --scores is for generators"):
        export(replace(command, checkpoint="newest", scores=config.run_folder / "scores.json"))


def test_the_code_of_the_card_gives_what_translate_gives(folder, store):
    (code,) = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)
    model = read_table_model(folder)
    (mri,) = store.select("mri", "test")
    voxels, body = store.voxels(mri), store.body(mri)
    np.save(folder / "volume.npy", 3.7 * voxels)  # any unit
    np.save(folder / "body.npy", body)

    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE], input=code, cwd=folder, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    expected = model.kept.table.synthetic_ct(voxels, body, mri.height)
    assert expected[body > 0].std() > 100
    np.testing.assert_allclose(np.load(folder / "synthetic.npy"), expected, atol=1, rtol=0)
