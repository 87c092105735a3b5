"""Weights & Biases and MLflow get the numbers of a run, and no run needs them."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cyclegan.config.config import Config
from cyclegan.config.files import computation_settings
from cyclegan.errors import ConfigError
from cyclegan.train.monitor import trackers
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.monitor.telemetry import Telemetry
from cyclegan.train.monitor.trackers import (
    BackgroundTracker,
    WandbTracker,
    open_tracker,
    tracked_id,
)
from mrct.storage.local_path import LocalPath
from tests.support.ports import free_ports
from tests.support.runs import unstored_run


def tracked(folder, kind: str) -> Config:
    config = unstored_run(LocalPath(folder), "tracked")
    return replace(config, debug=replace(config.debug, tracker=kind))


def write_steps(config: Config, *steps: int) -> None:
    telemetry = Telemetry(
        config.run_folder,
        is_rank_zero=True,
        first_step=0,
        global_batch=1,
        tracker=open_tracker(config),
    )
    for step in steps:
        telemetry.write(step, {"loss/generators": 1.0 / step, "loss/nan": float("nan")})
    telemetry.close()


class Kept:
    """A tracker that keeps what it gets."""

    def __init__(self) -> None:
        self.found: list[object] = []

    def log(self, step, metrics):
        self.found.append((step, dict(metrics)))

    def close(self):
        self.found.append("closed")


class FailingTracker(Kept):
    """Whose service is away."""

    def log(self, step, metrics):
        raise ConnectionError("the service is away")


def test_a_tracker_gets_every_finite_number_in_order(tmp_path, monkeypatch):
    kept = Kept()
    monkeypatch.setitem(trackers.TRACKERS, "wandb", lambda config: kept)
    monkeypatch.setattr(trackers, "find_spec", lambda name: ModuleSpec(name, None, origin=name))

    write_steps(tracked(tmp_path, "wandb"), 1, 2, 4)

    numbers = [(step, {"loss/generators": 1.0 / step}) for step in (1, 2, 4)]
    assert kept.found == [*numbers, "closed"]


def test_a_service_that_fails_costs_a_warning_and_no_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", lambda config: FailingTracker())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    config = tracked(tmp_path, "mlflow")

    write_steps(config, 1, 2)

    assert capsys.readouterr().err.count("warning: The tracker of the run fails (Connection") == 1
    assert [line["step"] for line in read_lines(config.run_folder / METRICS)] == [1, 2]


def test_without_its_package_the_run_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"debug.tracker is wandb.*`pip install wandb`"):
        open_tracker(tracked(tmp_path, "wandb"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI names no server"):
        open_tracker(tracked(tmp_path, "mlflow"))
    assert open_tracker(tracked(tmp_path, "none")) is None


def test_the_end_of_a_run_waits_for_what_is_not_sent(tmp_path):
    class SlowTracker(Kept):
        def log(self, step, metrics):
            time.sleep(0.05)
            super().log(step, metrics)

    kept = SlowTracker()
    tracker = BackgroundTracker(lambda: kept, wait_s=60)
    for step in range(4):
        tracker.log(step, {"x": 1.0})
    tracker.close()

    assert len(kept.found) == 5


def test_the_end_waits_less_than_a_stop_leaves_and_keeps_the_numbers_first(tmp_path, monkeypatch):
    class Unreachable(Kept):
        def close(self):
            seen.append([line["step"] for line in read_lines(config.run_folder / METRICS)])
            forever.wait(30)

    seen: list[list[int]] = []
    forever = threading.Event()
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", lambda config: Unreachable())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    config = tracked(tmp_path, "mlflow")
    config = replace(config, scale=replace(config.scale, grace_s=1))

    began = time.monotonic()
    write_steps(config, 1, 2)
    took_s = time.monotonic() - began
    forever.set()

    assert seen == [[1, 2]]
    assert took_s < 20


class FakeWandb(ModuleType):
    """The package's functions, as `WandbTracker` calls them; steps that fall are dropped there."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.Settings = dict
        self.given: dict[str, Any] = {}
        self.axes: list[tuple[str, str | None]] = []
        self.lines: list[dict[str, float]] = []

    def init(self, **given):
        self.given = given
        return SimpleNamespace(
            log=self.log,
            finish=lambda: None,
            define_metric=lambda name, step_metric=None: self.axes.append((name, step_metric)),
        )

    def log(self, metrics, step=None):
        if step is None:
            self.lines.append(metrics)


@pytest.fixture
def fake_wandb(monkeypatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_is_told_no_host_user_path_or_code(tmp_path, fake_wandb):
    config = tracked(tmp_path, "wandb")
    config.run_folder.make_folder()
    WandbTracker(config)

    off = ("disable_code", "disable_git", "x_disable_machine_info", "x_disable_meta")
    flags = fake_wandb.given["settings"]
    assert flags == dict.fromkeys((*off, "x_disable_stats"), True) | {
        "console": "off",
        "host": "cyclegan",
        "username": "cyclegan",
    }
    sent = {name: value for name, value in fake_wandb.given.items() if name != "dir"}
    assert sent["config"] == computation_settings(config)
    assert str(tmp_path) not in str(sent)
    assert os.uname().nodename not in str(sent)
    assert fake_wandb.given["dir"] == config.run_folder


def test_wandb_gets_scores_of_an_earlier_step(tmp_path, fake_wandb):
    config = tracked(tmp_path, "wandb")
    config.run_folder.make_folder()
    tracker = WandbTracker(config)
    tracker.log(8, {"loss/generators": 1.0})
    tracker.log(4, {"val/ssim": 0.5})

    assert ("*", "step") in fake_wandb.axes
    assert fake_wandb.lines == [
        {"loss/generators": 1.0, "step": 8},
        {"val/ssim": 0.5, "step": 4},
    ]


def test_a_new_run_in_the_place_of_another_is_another_run(tmp_path):
    config = tracked(tmp_path, "wandb")
    config.run_folder.make_folder()
    first = tracked_id(config)
    assert tracked_id(config) == first, "a resumed run"

    shutil.rmtree(config.run_folder)
    config.run_folder.make_folder()

    assert tracked_id(config) != first


def test_a_folder_called_wandb_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "elsewhere/wandb").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere")])

    with pytest.raises(ConfigError, match="package is not installed"):
        open_tracker(tracked(tmp_path, "wandb"))


def test_offline_numbers_of_a_run_under_a_url_have_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: ModuleSpec(name, None, origin=name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = tracked(tmp_path, "wandb")
    elsewhere = replace(config, run=replace(config.run, storage="s3://bucket/runs"))

    with pytest.raises(ConfigError, match="WANDB_MODE is offline"):
        open_tracker(elsewhere)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    """MLflow's own server on loopback, from an environment of its own: see MLFLOW_SERVER."""
    if not (program := os.environ.get("MLFLOW_SERVER")):
        pytest.skip("MLFLOW_SERVER is not the path of an `mlflow`, which fits no pins of ours")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    store = f"--backend-store-uri sqlite:///{tmp_path}/mlflow.db --workers 1"
    command = [program, "server", "--port", str(port), *store.split()]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        ends = time.monotonic() + 120
        while time.monotonic() < ends and process.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/health").close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
        process.terminate()


def read_json(address: str, content: bytes | None = None) -> dict[str, Any]:
    request = urllib.request.Request(address, content, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_mlflow_has_one_run_with_the_settings_and_numbers_of_both_parts(tmp_path, server):
    config = tracked(tmp_path, "mlflow")
    write_steps(config, 1, 2)
    write_steps(config, 4)

    api = f"{server}/api/2.0/mlflow"
    experiment = read_json(f"{api}/experiments/get-by-name?experiment_name=cyclegan")["experiment"]
    search = json.dumps({"experiment_ids": [experiment["experiment_id"]]}).encode()
    (run,) = read_json(f"{api}/runs/search", search)["runs"]
    assert (run["info"]["run_name"], run["info"]["status"]) == ("tracked", "FINISHED")
    where = f"run_id={run['info']['run_id']}&metric_key=loss/generators"
    history = read_json(f"{api}/metrics/get-history?{where}")["metrics"]
    assert [(int(each["step"]), each["value"]) for each in history] == [
        *((1, 1.0), (2, 0.5), (4, 0.25))
    ]
    settings = {name: str(value) for name, value in computation_settings(config).items()}
    assert {each["key"]: each.get("value", "") for each in run["data"]["params"]} == settings
    assert str(tmp_path) not in str(run["data"]), "paths stay here"


@pytest.mark.slow
def test_wandb_offline_keeps_the_numbers_in_the_folder_of_the_run(tmp_path, monkeypatch):
    if find_spec("wandb") is None:
        pytest.skip("no wandb here: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = tracked(tmp_path, "wandb")
    config.run_folder.make_folder()

    write_steps(config, 1, 2)

    (log,) = (tmp_path / "tracked/wandb").glob("offline-run-*/*.wandb")
    content = log.read_bytes()
    assert b"loss/generators" in content
    assert b"loss.cycle.weight" in content
    assert os.uname().nodename.encode() not in content
    assert str(tmp_path).encode() not in content
