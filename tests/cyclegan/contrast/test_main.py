"""A run gets its table by one command, and its checkpoints, evaluations and resumes know it."""

import json
import re
from dataclasses import replace

import pytest

from cyclegan.config.config import Config
from cyclegan.config.presets import smoke
from cyclegan.contrast.__main__ import main
from cyclegan.contrast.table_file import TABLE_FILE, read_table
from cyclegan.errors import TableError
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.results import write_results
from cyclegan.train.checkpoint.checkpoint import folder_of, restore_checkpoint
from cyclegan.train.checkpoint.run_record import table_of_run
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from mrct.errors import ExitCode
from tests.support.runs import run_of_one_step
from tests.support.stores import make_store


@pytest.fixture
def config(tmp_path) -> Config:
    """The configuration of a run of one step, which is over."""
    store = make_store(
        tmp_path / "s.zarr", mri=2, ct=2, paired=1, shape=(4, 64, 64), splits=("train", "val")
    )
    return run_of_one_step(store, smoke())


def named_by(config: Config, step: int) -> str:
    facts = json.loads((folder_of(config.run_folder, step) / "state.json").read_text())
    return facts["contrast_table"]


def test_a_run_keeps_its_table_and_every_evaluation_scores_it(config, tmp_path, capsys):
    folder = config.run_folder
    assert main([str(folder), "--workers", "0"]) == ExitCode.DONE
    sha256 = read_table(folder / TABLE_FILE).sha256
    printed = capsys.readouterr().out
    assert printed.endswith(f"  python -m cyclegan.export {config.run_folder} --table\n")
    assert sha256 in printed
    assert main([str(folder), "--workers", "0"]) == ExitCode.DONE
    assert "is there" in capsys.readouterr().out

    write_results(EvaluateCommand(run=folder, split="val", out=tmp_path / "out", pictures=1))

    assert "The baseline 'contrast table' is better than CycleGAN in" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["hashes"]["contrast table"] == sha256
    paired = scores["paired"]
    assert paired["contrast table"]["mae_hu"]["mean"] < paired["atlas, mean"]["mae_hu"]["mean"]
    report = (tmp_path / "out/report.html").read_text()
    assert "<td>contrast table</td>" in report
    assert re.search('What the contrast table has learned</h3>\n<img src="data:image/png', report)
    assert sha256 in report
    sentence = printed.splitlines()[0]
    assert sentence.startswith("Bells of width")
    assert sentence in report


def test_a_table_of_other_volumes_is_refused(config):
    main([str(config.run_folder), "--workers", "0"])
    assert table_of_run(config.run_folder)
    path = config.run_folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"store_contents": "other"}))

    with pytest.raises(TableError, match="fitted to other volumes"):
        table_of_run(config.run_folder)


def test_checkpoints_name_the_table_and_a_resume_takes_no_other(config):
    assert named_by(config, 1) == ""
    main([str(config.run_folder), "--workers", "0"])
    path = config.run_folder / TABLE_FILE
    content, sha256 = path.read_bytes(), read_table(path).sha256

    longer = replace(config, train=replace(config.train, max_steps=2))
    state = train_worker(longer, Worker())

    assert named_by(config, 2) == state.contrast_table == sha256
    restore_checkpoint(state, folder_of(config.run_folder, 1))
    assert state.contrast_table == ""
    path.unlink()
    with pytest.raises(TableError, match=f"names the contrast table {sha256}.*missing"):
        train_worker(longer, Worker())
    path.write_bytes(content)
    train_worker(longer, Worker())
