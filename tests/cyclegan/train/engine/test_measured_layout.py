"""Measured layouts reach a run by a file: one for all workers, kept for resume, never a crash."""

import json
from dataclasses import replace

import pytest
import torch

from cyclegan.config.files import to_yaml
from cyclegan.train import loop
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.measured_layout import (
    LAYOUT_RECORD,
    look_up_layout,
    measured_layouts_file,
    record_layouts,
    settle_layout,
)
from cyclegan.train.loop import train_worker
from mrct.storage.local_path import LocalPath
from tests.support.gloo import run_workers

GPU = "NVIDIA H200"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> LocalPath:
    """A cache folder of its own for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def with_train(config, **settings):
    return replace(config, train=replace(config.train, **settings))


def test_a_measurement_counts_for_its_gpu_preset_and_compile_setting(config):
    record_layouts(GPU, "smoke", {"all": "yes"})
    record_layouts(GPU, "smoke", {"no": "no"})
    record_layouts("NVIDIA A100", "smoke", {"no": "yes"})
    record_layouts(GPU, "default", {"no": "yes"})

    for compile, choice in (("no", "no"), ("all", "yes"), ("blocks", "auto")):
        assert look_up_layout(with_train(config, compile=compile), GPU, pytest.fail) == choice
    assert look_up_layout(config, "NVIDIA A100", pytest.fail) == "yes"
    assert look_up_layout(config, "another", pytest.fail) == "auto"


@pytest.mark.parametrize(
    ("settings", "gpu", "choice"),
    [
        ({"channels_last": "yes"}, GPU, "yes"),
        ({"deterministic": True}, GPU, "auto"),
        ({}, "", "auto"),
    ],
    ids=["a setting", "deterministic", "a CPU"],
)
def test_measurements_do_not_overrule(config, settings, gpu, choice):
    record_layouts(gpu, "smoke", {"no": "no"})

    run = with_train(config, **settings)

    assert settle_layout(run, gpu, Worker(), pytest.fail) == choice
    assert not (run.run_folder / LAYOUT_RECORD).exists()


@pytest.mark.parametrize("first", ["auto", "no"])
def test_a_run_keeps_what_it_began_with(config, first):
    if first != "auto":
        record_layouts(GPU, "smoke", {"no": first})
    assert settle_layout(config, GPU, Worker(), pytest.fail) == first

    record_layouts(GPU, "smoke", {"no": "yes"})

    assert settle_layout(config, GPU, Worker(), pytest.fail) == first
    other = replace(config, run=replace(config.run, name="other"))
    assert settle_layout(other, GPU, Worker(), pytest.fail) == "yes"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2, "layouts": {}}',
        '{"schema_version": 1, "layouts": []}',
        json.dumps({"schema_version": 1, "layouts": {GPU: {"smoke": {"no": "perhaps"}}}}),
        json.dumps({"schema_version": 1, "layouts": {GPU: {"smoke": {"no": ["yes"]}}}}),
    ],
)
def test_a_damaged_or_foreign_file_costs_one_line(config, content):
    path = measured_layouts_file()
    path.parent.make_folder()
    path.put(content.encode())
    notes: list[str] = []

    assert look_up_layout(config, GPU, notes.append) == "auto"
    assert len(notes) == 1
    assert "measured layouts" in notes[0]
    assert "\n" not in notes[0]
    record_layouts(GPU, "smoke", {"no": "yes"})
    assert look_up_layout(config, GPU, pytest.fail) == "yes"


def test_a_damaged_record_of_the_run_costs_one_line(config):
    record_layouts(GPU, "smoke", {"no": "yes"})
    config.run_folder.make_folder()
    (config.run_folder / LAYOUT_RECORD).put(b"{")
    notes: list[str] = []

    assert settle_layout(config, GPU, Worker(), notes.append) == "yes"
    assert len(notes) == 1
    assert settle_layout(config, GPU, Worker(), pytest.fail) == "yes"


def test_a_relative_cache_folder_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert measured_layouts_file().parent.parent == tmp_path / ".cache"


def test_two_workers_take_the_layout_of_the_first(config, tmp_path):
    for rank, choice in enumerate(("yes", "no")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{rank}"))
            record_layouts(GPU, "smoke", {"no": choice})
    path = tmp_path / "two.yaml"
    path.write_text(to_yaml(config))

    said = run_workers(
        f"""
import os
from cyclegan.train.engine.measured_layout import settle_layout
os.environ["XDG_CACHE_HOME"] = str(path.parent / f"cache-{{rank}}")
print(settle_layout(config, {GPU!r}, meet(2), print), file=sys.stderr)
""",
        path,
        2,
    )

    assert [text.splitlines()[-1] for text in said] == ["yes", "yes"]


def test_a_run_trains_in_the_measured_layout_and_resumes_in_it(config, monkeypatch):
    monkeypatch.setattr(loop, "gpu_name", lambda device: GPU)
    record_layouts(GPU, "smoke", {"no": "yes"})
    paused = replace(config, schedule=replace(config.schedule, pause_at_step=1))
    resumed = replace(config, schedule=replace(config.schedule, pause_at_step=2))

    for run, step in ((paused, 1), (resumed, 2)):
        state = train_worker(run, Worker())
        record_layouts(GPU, "smoke", {"no": "no"})

        assert state.step == step
        weights = [w for w in state.generators.parameters() if w.ndim == 4 and w.shape[1] > 1]
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
