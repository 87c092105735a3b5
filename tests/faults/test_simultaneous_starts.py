"""Commands of one name that start at once: one of them does the work, and the others say why not.

Rounds of 2, 3 and 5 starters: one of each in `make test`, 50 in all under `make faults`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan.export.model_folder import verify_model
from data_prep.convert.pseudonyms import open_key
from data_prep.store.check import check
from data_prep.store.store import open_store, read_root
from tests.conftest import ROOT
from tests.faults.simultaneous import STEPS
from tests.support.stores import make_store
from tests.support.volumes import write_head

ROUNDS = 50 if os.environ.get("CYCLEGAN_FAULTS") == "full" else 3
STARTERS = (2, 3, 5)
Start = Callable[..., tuple[list[Any], list[str]]]
each_round = pytest.mark.parametrize("number", range(ROUNDS))


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Lets the starters of a round call one function at once; returns their results, and the
    messages of those that were refused."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.simultaneous"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert program.stdin is not None
    assert program.stdout is not None

    def start(work: str, number: int, *paths: Path) -> tuple[list[Any], list[str]]:
        count = STARTERS[number % len(STARTERS)]
        print(json.dumps([work, count, *map(str, paths)]), file=program.stdin, flush=True)
        answers = json.loads(program.stdout.readline())
        assert len(answers) == count
        assert not [text for answer in answers if (text := answer.get("crashed"))]
        refused = [answer["refused"] for answer in answers if "refused" in answer]
        return [answer["result"] for answer in answers if "result" in answer], refused

    yield start
    program.communicate()


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_head(folder / "mri/0.nii", "mri")
    write_head(folder / "ct/1.nii", "ct", 1)
    return folder


@each_round
def test_conversions_make_one_store_with_one_key_and_no_volume_twice(
    start, heads, tmp_path, number
):
    out = tmp_path / "s.zarr"

    written, refused = start("convert", number, heads, out)

    # One that is late finds all volumes there.
    assert sorted(written, reverse=True) == [2] + [0] * (len(written) - 1)
    assert all(f"Another conversion is writing to {out}" in text for text in refused)
    store = open_store(out)
    assert len(store.volumes) == 2
    assert check(store, full=True) == []
    assert read_root(out)["key_check"] == open_key(tmp_path / "s.zarr.key").check
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zarr", "s.zarr.key"]


@each_round
def test_conversions_that_use_no_volume_remove_no_store_of_another(start, tmp_path, number):
    (tmp_path / "mri").mkdir()
    (tmp_path / "mri/broken.nii").write_bytes(b"?")

    empty, refused = start("convert_nothing", number, tmp_path, tmp_path / "s.zarr")

    assert set(empty) == {True}
    assert all("Another conversion" in text for text in refused)
    assert not (tmp_path / "s.zarr").exists()


@each_round
def test_a_new_key_is_the_same_for_all_that_ask_for_it(start, tmp_path, number):
    checks, _ = start("key_check", number, tmp_path / "key")

    assert set(checks) == {open_key(tmp_path / "key").check}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


# One of five starters in `make test`, since a training takes seconds.
@pytest.mark.parametrize("number", range(2, ROUNDS))
def test_one_training_of_a_name_runs(start, tmp_path, number):
    store = make_store(tmp_path / "s.zarr", shape=(4, 32, 32), splits=("train", "val"), ct=3)

    steps, refused = start("train", number, store.path, tmp_path / "runs")

    assert steps == [STEPS]
    assert all("Another command is training" in t or "already contains a run" in t for t in refused)


@each_round
def test_one_search_of_a_name_begins(start, tmp_path, number):
    trials, refused = start("begin_search", number, tmp_path / "search")

    assert trials == [1]
    assert all("Another command is" in t or "already contains a search" in t for t in refused)
    assert len((tmp_path / "search/trials.jsonl").read_text().splitlines()) == 1


@each_round
def test_one_export_of_a_name_is_published(start, tmp_path, number):
    exported, refused = start("export", number, tmp_path / "model")

    assert exported == [None]
    assert all("model already exists" in text for text in refused)
    verify_model(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@each_round
def test_exports_that_may_overwrite_each_other_leave_a_whole_one(start, tmp_path, number):
    start("export", number, tmp_path / "model")

    _, refused = start("export_over", number, tmp_path / "model")

    assert refused == []
    verify_model(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
