"""Volume files become a scored synthetic CT, in this process: every stage but Ray.

`make test-all` has the same by the commands that a user types, with two workers: test_main_job.py.
"""

import json
from dataclasses import replace

import nibabel

from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
from cyclegan.evaluate.command import EvaluateCommand as Evaluate
from cyclegan.evaluate.results import write_results as evaluate
from cyclegan.export.command import ExportCommand as Export
from cyclegan.export.export import export
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.translate.command import TranslateCommand as Translate
from cyclegan.translate.translate import translate_inputs
from mrct.errors import ExitCode
from tests.support.conversions import run as convert
from tests.support.git import kept_by_git
from tests.support.volumes import write_head


def test_files_become_a_store_a_run_its_scores_a_model_and_a_synthetic_ct(tmp_path):
    for number in range(3):
        mri = write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
        write_head(tmp_path / f"ct/{number}.nii.gz", "ct", number + 10)
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(tmp_path / "runs"), name="first"),
            data=replace(base.data, store=str(tmp_path / "s.zarr")),
        )
    )
    report, store = convert(
        mri=tmp_path / "mri",
        ct=tmp_path / "ct",
        out=tmp_path / "s.zarr",
        id_map=tmp_path / "s.id-map.csv",
    )
    assert (report.written, report.refused) == (6, ())

    assert train_worker(config, Worker()).step == 6
    run = config.run_folder
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    assert checkpoint.verify_checkpoint(newest)["step"] == 6
    lines = read_lines(run / METRICS)
    assert "val/selection" in lines[-2]
    assert "Training took" in lines[-1]["note"]

    assert evaluate(Evaluate(run=run, pictures=1)) == ExitCode.DONE
    scores = json.loads((run / "evaluation_test/scores.json").read_text())
    assert len(store.select("mri", "test")) == 1
    assert "cycle" in scores

    assert export(Export(run_folder=run)) == ExitCode.DONE
    out = tmp_path / "synthetic"
    asked = Translate(model=run / "model_to_ct", inputs=(mri,), out=out, preview=True)
    assert translate_inputs(asked) == ExitCode.DONE
    (made,) = out.glob("*_synthetic-ct.nii.gz")
    assert nibabel.load(made).shape == nibabel.load(mri).shape
    assert kept_by_git(tmp_path) == []
