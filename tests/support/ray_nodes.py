"""A Ray cluster of our own on loopback, with a token, of as many nodes as a test starts."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from mrct.ray_session import ADDED_MACHINES
from tests.support.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PHRASE = ("ray", "job", "submit", "--", "python", "-m", "cyclegan.train")
"""What a user types who has set the paths of volumes and runs on the cluster."""


class Cluster(NamedTuple):
    address: str
    """For jobs."""
    head: str
    """For programs that join it."""
    env: dict[str, str]
    process: subprocess.Popen[bytes]
    """The head's."""
    folder: Path

    def call(self, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """A command typed in the project's folder."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the jobs' API answers; `ray job` asks the same, and takes seconds to start."""
        token = Path(self.env["RAY_AUTH_TOKEN_PATH"]).read_text()
        request = urllib.request.Request(
            f"{self.address}/api/jobs/{path}",
            headers={"Authorization": f"Bearer {token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def printed(self, job: str) -> str:
        """What a job has printed."""
        return str(self.ask(f"{job}/logs")["logs"])

    def wait_for(self, text: str, job: str, seconds: float = 60) -> str:
        """All that a job has printed, once a text is in it."""
        until = time.monotonic() + seconds
        while text not in (said := self.printed(job)):
            assert time.monotonic() < until, said
            time.sleep(0.5)
        return said


@contextmanager
def head(folder: Path, cpus: int = 2, grows: bool = False, **variables: str) -> Iterator[Cluster]:
    """A head with these environment variables, beside whatever Ray runs on this machine already.

    With `grows` an autoscaler makes up to two nodes of one CPU for those who wait for them.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    env = (
        {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # Ray's 15 would starve on a machine that is shared
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else a node that ends waits for 30 s
        }
        | variables
    )
    gcs, dashboard, agent, client = free_ports(4)
    # Not below pytest's folder: the path of a socket must be shorter than 108 characters.
    temp = Path(tempfile.mkdtemp(prefix="ray-"))
    address = f"http://127.0.0.1:{dashboard}"
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", f"--num-cpus={cpus}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        f"--temp-dir={temp}",
    ]
    if grows:
        config = folder / "autoscaler.yaml"
        config.write_text(json.dumps(autoscaling(gcs)))
        command.append(f"--autoscaling-config={config}")
        env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        env |= {ADDED_MACHINES: '[{"count": 2, "CPU": 1}]'}
    try:
        with started(command, folder, "head", env) as process:
            wait_for(address, process, folder / "head.log")
            yield Cluster(address, f"127.0.0.1:{gcs}", env, process, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def autoscaling(gcs_port: int) -> dict[str, Any]:
    """What `ray up` would hand to the autoscaler, with machines that are processes of this one."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    }
    return {
        "cluster_name": "grows",
        "max_workers": 2,
        # As KubeRay has it: machines come ready, and nobody logs in to mend one that is slow.
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs_port}",
            "disable_node_updaters": True,
            "worker_liveness_check": False,
        },
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 5,
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{
            name: []
            for name in (
                *("initialization_commands", "setup_commands", "cluster_synced_files"),
                *("head_setup_commands", "worker_setup_commands", "rsync_exclude", "rsync_filter"),
                *("head_start_ray_commands", "worker_start_ray_commands"),
            )
        },
        "file_mounts_sync_continuously": False,
    }


@contextmanager
def node(
    cluster: Cluster,
    name: str,
    *options: str,
    inside: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Another node that has joined; `inside` is what to start it in, such as a mount namespace.

    Two that start at the same moment on one machine take each other's socket and die.
    """
    (agent,) = free_ports(1)
    command = [
        *inside,
        *(str(BIN / "ray"), "start", "--block", "--disable-usage-stats"),
        *(f"--address={cluster.head}", f"--dashboard-agent-listen-port={agent}", *options),
    ]
    with started(command, cluster.folder, name, cluster.env | dict(env or {})) as process:
        log, until = cluster.folder / f"{name}.log", time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, "it does not join"
            time.sleep(0.1)
        yield process


@contextmanager
def started(
    command: Sequence[str], folder: Path, name: str, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a log, and its end; in a folder as on a cluster, where no worker starts in the
    project's."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=dict(env), stdout=log, stderr=log)
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a node and what it started, and no other Ray."""
    children = offspring(process)
    process.terminate()
    process.wait(60)
    for each in psutil.wait_procs(children, timeout=10)[1]:
        each.kill()


def kill(process: subprocess.Popen[bytes]) -> None:
    """A machine that loses its power: all of a node at once."""
    for each in [*offspring(process), psutil.Process(process.pid)]:
        each.kill()
    process.wait(60)


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All that a process started and that still runs."""
    if process.poll() is not None:
        return []
    return psutil.Process(process.pid).children(recursive=True)


def words(process: psutil.Process) -> str:
    """A process's command line, or the name that Ray gives it; empty once it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def wait_until_nothing_is_left(cluster: Cluster, folder: Path) -> None:
    """Until nothing of a training runs: no workers, and no command that names its folder."""
    until = time.monotonic() + 60
    while left := [
        *(line for each in offspring(cluster.process) if is_of_training(line := words(each))),
        *(line for each in psutil.process_iter() if str(folder) in (line := words(each))),
    ]:
        assert time.monotonic() < until, left
        time.sleep(0.5)


def is_of_training(line: str) -> bool:
    """Whether a process belongs to a training: its command, its controller or its workers."""
    return any(word in line for word in ("cyclegan.train", "TrainController", "RayTrainWorker"))


def status_without_token(url: str) -> int | None:
    """The HTTP status that a stranger gets; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 180
    while status_without_token(f"{address}/api/version") is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.5)


def submitted_job(printed: str) -> str:
    """The name of the job, from what `cluster submit` printed."""
    (job,) = re.findall(r"^Job (\w+);", printed, re.MULTILINE)
    return job
