"""A Slurm of our own on this machine: munge, slurmctld and a slurmd for each of two nodes."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mrct.storage.local_path import LocalPath
from tests.support.ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
NODES = ("one", "two")
# A job that queued again starts when the credential of its first life has expired: after 2 min by
# default. Started sooner (StartTime=now), it may be refused as "already killed".
CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
JobRequeue=1
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm(NamedTuple):
    folder: Path
    env: dict[str, str]

    def call(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run one of Slurm's programs; returns what it prints."""
        return subprocess.run(
            command, cwd=cwd, env=self.env, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def state(self, job: str) -> str:
        """What `scontrol show job` tells of a job: one line."""
        return self.call("scontrol", "--oneliner", "show", "job", job)


def missing() -> str:
    """Why no Slurm can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if absent:
        return f"needs {', '.join(absent)} (slurm-wlm and munge of tests/apt.txt)"
    return "" if os.getuid() == 0 else "needs root, as slurmd does"


def search_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextmanager
def running() -> Iterator[Slurm]:
    """Start munge, the controller and the node's daemon, and end them again."""
    folder = LocalPath(tempfile.mkdtemp(prefix="slurm-"))
    controller, *ports = free_ports(1 + len(NODES))
    (folder / "state").mkdir()
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} "
        "CPUs=2 RealMemory=4000 State=UNKNOWN"
        for name, port in zip(NODES, ports, strict=True)
    )
    (folder / "slurm.conf").write_text(
        CONFIG.format(folder=folder, controller=controller, nodes=nodes)
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PATH": search_path(),
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    slurm = Slurm(folder, env)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name, *arguments in (
            (
                "munged",
                *("--foreground", "--force", f"--socket={folder}/munge.socket"),
                *(f"--key-file={key}", f"--pid-file={folder}/munged.pid"),
                *(f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log"),
            ),
            ("slurmctld", "-D", "-f", str(folder / "slurm.conf")),
            *(("slurmd", "-D", "-N", node, "-f", str(folder / "slurm.conf")) for node in NODES),
        ):
            log = stack.enter_context((folder / f"{name}-{arguments[2][-3:]}.out").open("w"))
            process = subprocess.Popen([name, *arguments], env=env, stdout=log, stderr=log)
            stack.callback(end, process)
        until = time.monotonic() + 60
        while any("State=IDLE" not in node_state(slurm, node) for node in NODES):
            logs = "\n".join(path.read_text() for path in folder.glob("*.out"))
            assert time.monotonic() < until, logs
            time.sleep(0.3)
        yield slurm


def node_state(slurm: Slurm, node: str) -> str:
    """What the controller says of a node; empty while it does not answer."""
    try:
        return slurm.call("scontrol", "--oneliner", "show", "node", node)
    except subprocess.CalledProcessError:
        return ""


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
