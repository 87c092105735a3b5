"""K4: a node that the cluster takes away with notice: the run saves at once, outlives it, and
ends on the machines that are left. Two nodes of a Ray on this machine; under `make faults`.
"""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from cyclegan.config import Config
from cyclegan.config_file import resolve
from cyclegan.presets import smoke
from cyclegan.train import checkpoint
from cyclegan.train.journal import METRICS, read_lines
from cyclegan.train.launch import fit
from tests.stores import make_store

NOTICE_S = 20
STEPS = 400

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("CYCLEGAN_FAULTS") != "full", reason="takes minutes: make faults"
    ),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of a cluster in one process
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    # A folder of its own: the address of a cluster in Ray's usual one draws other programs here.
    # Not below pytest's: the path of a socket must be shorter than 108 characters.
    folder = tempfile.mkdtemp(prefix="ray-")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    # The nodes listen beyond loopback whatever they are told: the token is the protection.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    ray.init(nodes.address, log_to_driver=False)
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def steps_saved(config: Config) -> set[int]:
    return {checkpoint.verify(folder)["step"] for folder in checkpoint.saved(config.run_folder)}


def wait_for(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.2)
    return False


@pytest.mark.timeout(600)
def test_a_drained_node_costs_no_step_before_its_notice(cluster: Cluster, tmp_path: Path):
    store = make_store(
        tmp_path / "s.zarr",
        mri=2,
        ct=2,
        paired=1,
        splits=("train", "train", "val"),
        shape=(4, 32, 32),
    )
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(tmp_path), name="drained"),
            data=replace(base.data, store=str(store.path)),
            train=replace(base.train, max_steps=STEPS),
            guard=replace(base.guard, look_every_steps=1),
            scale=replace(base.scale, workers=2, min_workers=1, cpus_per_worker=1),
            # Every save below, but for the first and the last, has the notice for its reason.
            schedule=replace(
                base.schedule, log_every_steps=1, save_every_steps=0, validate_every_steps=0
            ),
        )
    )
    log = config.run_folder / METRICS
    training = threading.Thread(target=fit, args=(config,), daemon=True)
    training.start()
    assert wait_for(lambda: any(line["step"] > 3 for line in read_lines(log)), 120)

    (head,) = [node for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
    (other,) = [node for node in ray.nodes() if node["NodeID"] != head["NodeID"]]
    deadline_ms = int((time.time() + NOTICE_S) * 1000)
    accepted, why = drain(other["NodeID"], deadline_ms)
    assert accepted, why
    assert wait_for(lambda: len(steps_saved(config) - {0}) > 0, NOTICE_S)
    (saved,) = steps_saved(config) - {0}
    assert 0 < saved < STEPS
    cluster.remove_node(cluster.list_all_nodes()[1])
    training.join(400)

    assert not training.is_alive()
    assert max(steps_saved(config)) == STEPS


def drain(node_id: str, deadline_ms: int) -> tuple[bool, str]:
    """What `ray drain-node` does."""
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    client = ray._private.worker.global_worker.gcs_client
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    return client.drain_node(node_id, reason, "spot instance reclaimed", deadline_ms)
