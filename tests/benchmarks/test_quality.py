"""The comparison of recipes: rows that add up, runs that go on, and truth that only judges."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import TEXT_KEPT, judge_run, main, rows_of
from benchmarks.recipes.candidate import SCREEN, settings
from benchmarks.recipes.phantom import (
    FROZEN,
    FROZEN_ORIGIN,
    SAMPLE,
    is_frozen,
    phantom_hash,
    phantom_name,
    sampled_voxels,
)
from benchmarks.recipes.table import LOCK_IN
from cyclegan.config.files import load_config
from cyclegan.train.monitor.training_warnings import TrainingWarnings
from data_prep.datasets.manifest import write_manifest
from data_prep.phantom.cohort import make_cohort, planned_visits, scan_subject
from data_prep.phantom.settings import CohortOrigin, CohortSettings
from data_prep.store.store import open_store
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
def test_a_run_that_was_stopped_continues_and_leaves_one_row(out):
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


ORIGIN = CohortOrigin.now(
    seed=5,
    settings=CohortSettings(
        num_train_mri=1, num_train_ct=1, num_val=0, num_test=0, in_plane_mm=8, slice_mm=16,
        anatomy_mm=6,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small cohort, and the sample of its voxels."""
    folder = tmp_path_factory.mktemp("frozen")
    make_cohort(folder, settings=ORIGIN.settings, seed=ORIGIN.seed, num_workers=1)
    sample = folder / "sample.npz"
    np.savez_compressed(sample, **sampled_voxels(folder))
    return folder, sample


def test_the_frozen_phantom_is_known_though_voxels_were_rounded_otherwise(frozen, tmp_path):
    cohort, sample = frozen
    voxels = dict(np.load(sample))
    assert is_frozen(cohort, sample, ORIGIN)

    for other, known in ((1, True), (2, False)):
        rounded = {name: values.copy() for name, values in voxels.items()}
        rounded["ct/phantom-0001.nii.gz"][100] += other
        np.savez_compressed(tmp_path / "s.npz", **rounded)
        assert is_frozen(cohort, tmp_path / "s.npz", ORIGIN) is known


@pytest.mark.parametrize("change", [{"seed": 6}, {"version": 2}])
def test_a_phantom_of_another_origin_is_not_the_frozen_one(frozen, change):
    cohort, sample = frozen

    assert not is_frozen(cohort, sample, replace(ORIGIN, **change))


def test_a_phantom_without_a_record_has_its_hash(out):
    store = open_store(storage_path(str(out / "heads.zarr")))

    assert phantom_name(store, out / "cohort") == phantom_hash(store) != FROZEN


def test_the_generator_still_makes_the_frozen_phantom(tmp_path):
    """Two of its 36 scans; those that compare a whole cohort are `benchmarks.quality`'s."""
    settings = FROZEN_ORIGIN.settings
    expected = np.load(SAMPLE)
    for modality in ("mri", "ct"):
        (tmp_path / modality).mkdir()
    visits = planned_visits(settings)
    first_ct = next(visit for visit in visits if visit.modalities == ("ct",))

    rows = [
        row
        for visit in (visits[0], first_ct)
        for row in scan_subject(tmp_path, settings, FROZEN_ORIGIN.seed, visit)
    ]
    write_manifest(tmp_path / "manifest.csv", rows)

    assert len(expected) == 36
    for name, voxels in sampled_voxels(tmp_path).items():
        assert np.abs(voxels - expected[name]).max() <= 1, name


def test_a_row_is_known_by_what_is_not_default(tmp_path):
    start = next(candidate for candidate in SCREEN if candidate.name == "start")

    found = [settings(start.config(tmp_path, tmp_path, steps=n, seed=n)) for n in (5, 9)]

    assert found[0] == found[1] == json.loads(json.dumps(found[0]))
    assert found[0]["data.mri_contrast"] == "inverted"
    assert not any(name.startswith(("run.", "schedule.", "loss.population")) for name in found[0])
    assert len({json.dumps(settings(c.config(tmp_path, tmp_path, steps=5, seed=0))) for c in SCREEN
                }) == len(SCREEN)  # fmt: skip
