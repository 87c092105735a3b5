"""The comparison of recipes: rows that add up, runs that go on, and truth that only judges."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import TEXT_KEPT, judge_run, main, rows_of
from benchmarks.recipes import phantom
from benchmarks.recipes.candidate import SCREEN, settings
from benchmarks.recipes.phantom import (
    FROZEN,
    FROZEN_MEANS,
    body_mean,
    phantom_hash,
    phantom_name,
)
from benchmarks.recipes.table import LOCK_IN
from cyclegan.config.files import load_config
from cyclegan.train.monitor.training_warnings import TrainingWarnings
from data_prep.store.store import Store, open_store
from mrct.errors import ExitCode
from mrct.storage.paths import storage_path
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `phantom` leaves it, with small heads; two pairs to judge by."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "cohort").mkdir()
    (folder / "cohort" / "manifest.csv").touch()
    splits = ("train", "val", "test")
    make_store(folder / "heads.zarr", mri=3, ct=3, paired=2, splits=splits, shape=(8, 32, 32))
    return folder


def run(out: Path, *words: str) -> ExitCode:
    common = ["--reference", "smoke", "--budget", "4", "--out", str(out)]
    return main(["run", "smoke", *common, "--results", str(out / "rows.jsonl"), *words])


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_leaves_one_row(out):
    assert run(out, "--minutes", "0") is ExitCode.PARTLY_DONE
    assert rows_of(out / "rows.jsonl") == []

    assert run(out) is ExitCode.DONE
    (row,) = rows_of(out / "rows.jsonl")
    assert run(out) is ExitCode.DONE

    assert rows_of(out / "rows.jsonl") == [row]
    assert row["steps"] == max(1, round(4 / row["step_ratio"]))
    assert len(row["selected"]["heads"]) == 2
    curve = {point["step"]: point for point in row["curve"]}
    assert row["regret_mae_hu"] == pytest.approx(
        curve[row["selected"]["step"]]["mae_hu"] - min(p["mae_hu"] for p in row["curve"]), abs=0.01
    )
    assert row["selected"]["step"] == min(curve, key=lambda step: curve[step]["selection"])


def test_the_chosen_checkpoint_does_not_depend_on_the_truth(out, monkeypatch, tmp_path):
    run(out)
    (row,) = rows_of(out / "rows.jsonl")
    folder = next(out.glob("runs-*/smoke-0"))
    store = open_store(storage_path(str(out / "heads.zarr")))
    monkeypatch.setattr(
        "benchmarks.recipes.judge.partner_ct",
        lambda store, volume: (np.zeros(volume.shape, np.int16), np.ones(volume.shape, bool)),
    )

    other = judge_run(load_config(folder / "config.yaml"), store, tmp_path / "slices.npz")

    assert other["selected"]["step"] == row["selected"]["step"]
    assert other["selected"]["mean"]["mae_hu"] != row["selected"]["mean"]["mae_hu"]


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_the_table_knows_the_watch_s_warning_by_what_a_row_keeps_of_it(contrast):
    wrong = 1 if contrast == "plain" else -1
    shows, text = TrainingWarnings(contrast).check_means({"watch/bone": 0.9 * wrong})["lock_in"]

    assert shows
    assert LOCK_IN in f"warning: {text}"[:TEXT_KEPT]


def test_the_table_and_the_pictures_are_made_of_the_rows(out, capsys):
    run(out)

    main(["table", "--out", str(out), "--results", str(out / "rows.jsonl"),
          "--pictures", str(out / "pictures")])  # fmt: skip

    assert "| smoke (4) | 1 |" in capsys.readouterr().out
    assert {path.name for path in (out / "pictures").iterdir()} == {"curves.png", "slices.png"}


def test_a_table_of_some_names_leaves_the_other_rows_out(out, capsys):
    run(out)
    common = ["--out", str(out), "--results", str(out / "rows.jsonl")]

    main(["table", "smoke", *common])
    assert "| smoke (4) |" in capsys.readouterr().out
    main(["table", "demo", *common])
    assert "smoke" not in capsys.readouterr().out


def test_the_hash_of_a_phantom_knows_voxels_and_not_names(tmp_path):
    def made(name: str, seed: int) -> str:
        return phantom_hash(make_store(tmp_path / name, seed=seed, shape=(2, 32, 32)))

    assert made("a", 1) == made("b", 1) != made("c", 2)


def test_the_frozen_phantom_is_known_though_a_voxel_was_rounded_otherwise(tmp_path, monkeypatch):
    store = make_store(tmp_path / "s.zarr", shape=(8, 32, 32))
    of_store = phantom_hash(store)
    assert phantom_name(store) == of_store

    means = {
        (modality, split): tuple(sorted(body_mean(store, v) for v in store.select(modality, split)))
        for modality, split in FROZEN_MEANS
    }
    monkeypatch.setattr(phantom, "FROZEN_MEANS", means)
    assert phantom_name(store) == FROZEN

    monkeypatch.setattr(Store, "voxels", lambda *words, read=Store.voxels: rounded(read(*words)))
    assert phantom_hash(store) != of_store
    assert phantom_name(store) == FROZEN
    monkeypatch.setitem(means, ("ct", "train"), tuple(1.001 * m for m in means["ct", "train"]))
    assert phantom_name(store) == phantom_hash(store)


def rounded(voxels):
    """As another processor would have: one voxel inside the body one higher."""
    voxels = voxels.copy()
    voxels[tuple(side // 2 for side in voxels.shape)] += 1
    return voxels


def test_a_row_is_known_by_what_is_not_default(tmp_path):
    start = next(candidate for candidate in SCREEN if candidate.name == "start")

    found = [settings(start.config(tmp_path, tmp_path, steps=n, seed=n)) for n in (5, 9)]

    assert found[0] == found[1] == json.loads(json.dumps(found[0]))
    assert found[0]["data.mri_contrast"] == "inverted"
    assert not any(name.startswith(("run.", "schedule.", "loss.population")) for name in found[0])
    assert len({json.dumps(settings(c.config(tmp_path, tmp_path, steps=5, seed=0))) for c in SCREEN
                }) == len(SCREEN)  # fmt: skip
