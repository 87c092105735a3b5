"""The batch script under a real Slurm: two nodes, one Ray, a signal, and the job again.

Both nodes are slurmd processes of this machine; no GPU and no second machine has been used.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.submit.job_spec import Machines
from cluster.submit.manifests import PROJECT, SBATCH, sbatch_line
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.monitor.metrics_log import read_lines
from tests.support.slurm import Slurm, missing, running
from tests.support.stores import make_store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NODES = """
import ray
from mrct.ray_session import accepts_unauthenticated_clients, ray_session
with ray_session():
    head = ray.get_runtime_context().gcs_address
    print("nodes", len(ray.nodes()), "open", accepts_unauthenticated_clients(head))
"""
# Preempted in its first life, done in its second.
COMMAND = f"""
trap 'echo told to save; sleep 1; exit 5' TERM
python -c '{NODES}' >> told
[ "${{SLURM_RESTART_COUNT:-0}}" = 1 ] && exit 0
touch working
while :; do sleep 0.2; done
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if reason := missing():
        pytest.skip(reason)
    with running() as started:
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's folder, as far as jobs use it: what they leave must not be in the real one."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in (".venv", "cluster", "cyclegan", "data_prep", "mrct"):
        (folder / name).symlink_to(PROJECT / name)
    return folder


def queue(slurm: Slurm, project: Path, *command: str) -> str:
    """Submit as `cluster submit` does, on the little that these nodes have; the job's number."""
    line = sbatch_line(Machines(nodes=2, gpus_per_node=0, cpus_per_node=2, memory_gib=3), command)
    line[1] = f"--chdir={project}"
    told = subprocess.run(
        line,
        env=slurm.env | {"CYCLEGAN_HEAD_IP": "127.0.0.1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()[-1]


def wait_until(holds: Callable[[], bool], log: Path, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, log.read_text() if log.exists() else "no log"
        time.sleep(0.3)


def wait_for(told: str, slurm: Slurm, job: str, log: Path, seconds: float = 240) -> None:
    """Wait until `scontrol show job` tells it."""
    until = time.monotonic() + seconds
    while told not in (state := slurm.state(job)):
        assert time.monotonic() < until, f"{state}\n{log.read_text()}"
        time.sleep(0.3)


def test_a_job_has_one_ray_on_all_its_nodes_and_a_preempted_command_is_queued_again(slurm, project):
    job = queue(slurm, project, "bash", "-c", COMMAND)
    log = project / f"cyclegan-{job}.log"
    wait_until(lambda: (project / "working").exists(), log)
    token = project / f".ray-token-{job}"
    assert token.stat().st_mode & 0o777 == 0o600

    slurm.call("scancel", "--batch", "--signal=TERM", job)  # what Slurm does before the limit
    wait_for("Restarts=1", slurm, job, log)
    assert not token.exists()
    wait_for("JobState=COMPLETED", slurm, job, log)

    assert "ExitCode=0:0" in slurm.state(job)
    assert (project / "told").read_text() == "nodes 2 open False\n" * 2
    text = log.read_text()
    assert "told to save\nPreempted: the job is requeued" in text
    assert "start 1, on one,two" in text
    assert not Path(f"/tmp/ray-{job}").exists()
    assert not token.exists()


def test_the_script_alone_refuses_to_run_nothing():
    told = subprocess.run(["bash", SBATCH], capture_output=True, text=True, check=False)

    assert told.returncode == 2
    assert "no command" in told.stderr


@pytest.mark.skipif(os.environ.get("CYCLEGAN_FAULTS") != "full", reason="only in `make faults`")
def test_a_training_that_slurm_takes_the_nodes_from_saves_and_ends_in_its_second_life(
    slurm, project, tmp_path
):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=2, splits=("train", "val"))
    run, steps = tmp_path / "run", 1500
    job = queue(
        *(slurm, project, "python", "-m", "cyclegan.train", "smoke"),
        *("--train.max-steps", str(steps), "--scale.workers", "2", "--scale.cpus-per-worker", "1"),
        *("--schedule.save-every", "never", "--schedule.validate-every", "never"),
        *("--data.store", str(store.path), "--run.storage", str(tmp_path), "--run.name", "run"),
    )
    log = project / f"cyclegan-{job}.log"
    wait_until(lambda: any(x["step"] >= 20 for x in read_lines(run / "metrics.jsonl")), log)

    slurm.call("scancel", "--batch", "--signal=TERM", job)
    wait_for("Restarts=1", slurm, job, log)
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    saved = checkpoint.verify_checkpoint(newest)["step"]
    assert 20 <= saved < steps
    wait_for("JobState=COMPLETED", slurm, job, log, seconds=400)

    assert f"Resuming from step {saved} of {steps}" in log.read_text()
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    assert checkpoint.verify_checkpoint(newest)["step"] == steps
    assert json.loads((run / "environment.json").read_text())["workers"] == 2
