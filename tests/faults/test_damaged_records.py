"""Records beside the weights are not the run: one that is damaged is named, kept and replaced."""

import hashlib
import json
from pathlib import Path

import pytest

from cyclegan.config.run_location import ENVIRONMENT
from cyclegan.errors import CheckpointError, ConfigError
from cyclegan.train.checkpoint.folder import FILE_HASHES, STATE, folder_of, record_score
from cyclegan.train.checkpoint.run_record import (
    UNKNOWN_CONTENTS,
    read_environment,
    record_environment,
    record_subjects,
    require_same_preprocessing,
    store_of_run,
)
from cyclegan.train.checkpoint.select import select_checkpoint
from cyclegan.train.monitor.metrics_log import METRICS, MetricsLog, read_lines
from data_prep.store.store import Store
from data_prep.store.subject_record import SUBJECTS_FILE, read_subjects, subjects_of
from mrct.storage.damaged import DAMAGED
from mrct.storage.paths import StoragePath, storage_path
from tests.support.stores import make_store

LINES = [{"step": step, "val/mae_hu": 100.0 - step} for step in range(1, 7)]
BAD = {
    "a flipped bit": lambda line: line.replace(b'"step"', b'"step\xa2', 1),
    "another key": lambda line: line.replace(b'"step"', b'"stfp"', 1),
    "a number": lambda line: b"7",
    "zeros": lambda line: bytes(len(line)),
    "half a line": lambda line: line[: len(line) // 2],
    "nothing": lambda line: b"",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return make_store(tmp_path_factory.mktemp("s") / "s.zarr", mri=1, ct=1, shape=(4, 32, 32))


@pytest.fixture(params=["local", "url"])
def run(request, tmp_path) -> StoragePath:
    return storage_path(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def damaged_lines(kind: str, number: int = 2) -> bytes:
    lines = [json.dumps(line).encode() for line in LINES]
    lines[number] = BAD[kind](lines[number])
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("kind", BAD)
def test_a_run_continues_without_the_damaged_line_of_its_curves(run, capsys, kind):
    content = damaged_lines(kind)
    (run / METRICS).put(content)

    log = MetricsLog(run)
    kept = log.resume_from(5)
    log.append({"step": 6})
    log.close()
    log.delete_local_copy()

    assert [line["step"] for line in kept] == [1, 2, 4, 5]
    assert [line["step"] for line in read_lines(run / METRICS)] == [1, 2, 4, 5, 6]
    assert (run / f"{METRICS}{DAMAGED}").read_bytes() == content
    assert f"{METRICS} is damaged: 1 of its lines" in capsys.readouterr().err


def test_a_line_cut_short_by_a_kill_is_no_damage(run, capsys):
    (run / METRICS).put(b"".join(json.dumps(line).encode() + b"\n" for line in LINES)[:-9])

    log = MetricsLog(run)
    assert len(log.resume_from(6)) == len(LINES) - 1
    log.close()
    log.delete_local_copy()

    assert METRICS in run.names()
    assert f"{METRICS}{DAMAGED}" not in run.names()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'"x"', b"{}", b"\xff" * 99, b'{"spacing_mm": 3, "size": [1, 2]}'],
)
def test_a_run_continues_without_its_damaged_record_of_the_store(run, store, capsys, content):
    (run / ENVIRONMENT).put(content)

    store_of_run(run, store)
    assert require_same_preprocessing(run, store) == UNKNOWN_CONTENTS
    assert f"{ENVIRONMENT} is damaged" in capsys.readouterr().err
    record_environment(run, store, workers=1)

    facts = read_environment(run)
    assert facts
    assert facts["store_contents"] == store.contents
    assert (run / f"{ENVIRONMENT}{DAMAGED}").read_bytes() == content
    assert "cannot be checked" in capsys.readouterr().err


def test_a_sound_record_still_refuses_another_store(run, store, tmp_path, capsys):
    record_environment(run, store, workers=1)
    record_environment(run, store, workers=2)
    other = make_store(tmp_path / "other.zarr", mri=2, ct=1, shape=(4, 32, 32))

    with pytest.raises(ConfigError, match="other volumes or splits"):
        store_of_run(run, other)
    assert require_same_preprocessing(run, other) == store.contents
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"{}", b'{"train": 5, "val": []}', b"\xff"])
def test_a_damaged_record_of_subjects_is_kept_aside(run, store, capsys, content):
    (run / SUBJECTS_FILE).put(content)

    record_subjects(run, store, None)

    assert read_subjects(run) == subjects_of(store)
    assert (run / f"{SUBJECTS_FILE}{DAMAGED}").read_bytes() == content
    assert f"{SUBJECTS_FILE} is damaged" in capsys.readouterr().err


def save_scored(run: Path, step: int, score: float | None) -> None:
    folder = folder_of(run, step)
    folder.mkdir(parents=True)
    facts = {"step": step, "validated": score is not None, "streak": 0}
    state = json.dumps(facts).encode()
    (folder / STATE).write_bytes(state)
    (folder / FILE_HASHES).write_text(json.dumps({STATE: hashlib.sha256(state).hexdigest()}))
    if score is not None:
        record_score(folder, score)


@pytest.mark.parametrize("kind", BAD)
def test_an_export_by_a_metric_says_which_figures_are_missing(tmp_path, capsys, kind):
    for step in (2, 3, 5):
        save_scored(tmp_path, step, 1.0)
    save_scored(tmp_path, 4, None)  # saved without a validation: no figure is missing
    (tmp_path / METRICS).write_bytes(damaged_lines(kind, number=4))

    chosen = select_checkpoint(tmp_path, "best", "val/mae_hu")

    assert chosen.name == "step_00000004"
    told = capsys.readouterr().err
    assert "has no val/mae_hu of step_00000005" in told
    assert "step_00000004" not in told
    (tmp_path / METRICS).write_bytes(b"\0\n")
    with pytest.raises(CheckpointError, match=r"no checkpoint|No checkpoint .* has the score"):
        select_checkpoint(tmp_path, "best", "val/mae_hu")
