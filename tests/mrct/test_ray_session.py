"""Which machines a cluster has and its autoscaler may add, and clusters that cannot be used."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from mrct import ray_session
from mrct.errors import UsageError, UserError
from mrct.ray_session import (
    ADDED_MACHINES,
    HEAD,
    KEPT_S,
    OURS,
    connect,
    machines,
    remove_old_files,
    start_local_ray,
)
from tests.support.ports import free_ports

HEAD_NODE = {"Alive": True, "Resources": {"CPU": 2.0, HEAD: 1.0}}
OTHER = {"Alive": True, "Resources": {"CPU": 4.0}}
LOST = {"Alive": False, "Resources": {"CPU": 4.0}}


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray says of three machines, one of them lost."""
    monkeypatch.setattr(ray, "nodes", lambda: [HEAD_NODE, OTHER, LOST])


def test_the_machines_are_those_that_are_there() -> None:
    assert machines() == [HEAD_NODE["Resources"], OTHER["Resources"]]


def test_where_machines_are_added_they_are_the_head_and_all_that_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        ADDED_MACHINES, '[{"count": 2, "CPU": 8, "GPU": 1}, {"count": 1, "CPU": 16}]'
    )

    gpu = {"CPU": 8.0, "GPU": 1.0}
    assert machines() == [HEAD_NODE["Resources"], gpu, gpu, {"CPU": 16.0}]


@pytest.mark.parametrize(
    "text", ["8", "{}8", '["CPU"]', '[{"CPU": 8}]', '[{"count": "many"}]', '[{"count": Infinity}]']
)
def test_what_says_nothing_of_machines_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(ADDED_MACHINES, text)

    with pytest.raises(UsageError, match=rf"{ADDED_MACHINES} is .*count"):
        machines()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_that_is_gone_is_told_at_once() -> None:
    (port,) = free_ports(1)
    since = time.monotonic()

    with pytest.raises(UserError, match=rf"answers at [\d.]+:{port} \(UNAVAILABLE\)"):
        connect(f"127.0.0.1:{port}")

    assert time.monotonic() - since < 30


def test_a_server_that_is_no_head_is_told_in_bounded_time(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "ANSWER_S", 0.5)

    with pytest.raises(UserError, match=r"No Ray cluster answers.*HOST:PORT of a running head"):
        connect(silent)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_a_url_is_no_address_of_a_head(url: str) -> None:
    with pytest.raises(UsageError, match=rf"{url} is a URL.*HOST:PORT of a running head"):
        connect(url)


def test_a_local_ray_that_does_not_start_in_time_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ray's own time is fixed at 30 s; test_local_ray.py lets it pass."""
    started: list[str] = []

    def start(address: str, **options: Any) -> SimpleNamespace:
        started.append(address)
        if len(started) == 1:
            raise Exception("The current node timed out during startup.\nMore.")
        return SimpleNamespace(address_info={"session_dir": str(tmp_path)})

    monkeypatch.setattr(ray, "init", start)

    with start_local_ray() as mark:
        assert Path(mark.name) == tmp_path / OURS

    assert started == ["local", "local"]
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == (
        "warning: Ray did not start (The current node timed out during startup.); trying once "
        "more.\n"
    )

    def never(address: str, **options: Any) -> None:
        raise RuntimeError("Some processes died.")

    monkeypatch.setattr(ray, "init", never)
    with pytest.raises(UserError, match=r"Ray did not start on this machine: Some processes died"):
        start_local_ray()


def test_files_of_an_ended_ray_are_removed_after_a_day_and_those_of_others_never(tmp_path):
    then = time.time() - KEPT_S - 60

    def session(name: str, *, is_ours: bool, at: float) -> Path:
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True)
        if is_ours:
            (folder / OURS).touch()
            os.utime(folder / OURS, (at, at))
        return folder

    old = session("session_2026-01-01_00-00-00_000000_71", is_ours=True, at=then)
    running = session("session_2026-01-01_00-00-00_000002_72", is_ours=True, at=then)
    kept = [
        running,
        session("session_2026-01-01_00-00-00_000001_71", is_ours=True, at=time.time()),
        session("session_2026-01-01_00-00-00_000003_71", is_ours=False, at=then),
        session("session_latest_x", is_ours=True, at=then),
    ]

    with (running / OURS).open("r") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        remove_old_files(tmp_path)

    assert not old.exists()
    assert all(folder.exists() for folder in kept)
