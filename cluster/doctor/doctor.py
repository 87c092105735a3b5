"""Check every node of a cluster with an actor on each, which runs the functions of `probe`.

Without a cluster, this machine is checked, in this process.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.doctor import checks, probe
from cluster.doctor.bandwidth import all_reduce_gb_per_s
from cluster.doctor.checks import CheckResult
from cluster.doctor.probe import NodeFacts, ReadSpeed
from cyclegan.train.distributed import open_port
from mrct.errors import UserError
from mrct.ray_session import ray_session
from mrct.storage.paths import StoragePath

PINGS = 5
HERE = "this machine"
COMMAND = "this command"
LINK_TIMEOUT_S = 90
START_TIMEOUT_S = 180
"""Timeout for the start of a process on each node, which may need to install a runtime
environment."""


class NodeProbe:
    """The actor on a node."""

    def __init__(self, node: str, num_promised: int) -> None:
        self.node, self.num_promised = node, num_promised

    def look(self, storage: Path | None) -> NodeFacts:
        """Return the facts of the machine."""
        return probe.probe_node(self.node, storage, self.num_promised)

    def now(self) -> float:
        """Return the time of its clock in seconds."""
        return time.time()

    def read(self, store: StoragePath, seed: int) -> ReadSpeed:
        """Read the store."""
        return probe.read_store(store, seed)

    def write(self, folder: Path) -> str:
        """Write a file for the other nodes to read."""
        return probe.write_marker(folder, self.node)

    def unseen(self, folder: Path, nodes: list[str]) -> list[str]:
        """Return the nodes whose file cannot be read."""
        return probe.missing_markers(folder, nodes)

    def remove_markers(self, folder: Path) -> None:
        """Remove the files of the nodes."""
        probe.remove_markers(folder)

    def meeting(self) -> tuple[str, int]:
        """Return the address of this node and a port where it now listens for `link`."""
        address = ray.util.get_node_ip_address()
        return address, open_port(address)

    def link(self, rank: int, world_size: int, address: str, port: int) -> float:
        """Return the bandwidth of an all-reduce with the other nodes in GB/s."""
        return all_reduce_gb_per_s(rank, world_size, address, port)


def examine(
    address: str | None = None, store: StoragePath | None = None, storage: Path | None = None
) -> Iterator[CheckResult]:
    """Check every node of the cluster at `address` or RAY_ADDRESS, else this machine.

    The store and the storage folder are checked only if given.

    Raises:
        UserError: Other machines can reach the cluster without a token.
    """
    if not (address or os.environ.get("RAY_ADDRESS")):
        yield from examine_here(store, storage)
        return
    with ray_session(address), start_probes() as nodes:
        yield from examine_nodes(nodes, store, storage)


def examine_here(store: StoragePath | None, storage: Path | None) -> Iterator[CheckResult]:
    """Check this machine alone, without Ray."""
    facts = probe.probe_node(HERE, storage, 0)
    yield from checks.judge_versions([facts])
    yield from checks.judge_node(facts)
    if store is not None:
        readings = {HERE: probe.read_store(store, 0)}
        yield from checks.judge_readings(str(store), readings, len(facts.gpus))
    if storage is not None:
        folder = storage / f".doctor-{uuid.uuid4().hex[:8]}"
        refused = {HERE: probe.write_marker(folder, HERE)}
        unseen = {HERE: probe.missing_markers(folder, [HERE])}
        probe.remove_markers(folder)
        yield from checks.judge_storage(str(storage), refused, unseen)


@contextmanager
def start_probes() -> Iterator[dict[str, Any]]:
    """Yield an actor on each node of the connected cluster, by the node's name.

    Raises:
        UserError: The actor of some node did not start in time, usually because its GPUs are busy.
    """
    actor = ray.remote(num_cpus=0)(NodeProbe)
    nodes: dict[str, Any] = {}
    for node in ray.nodes():
        if node["Alive"]:
            name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            gpus = int(node["Resources"].get("GPU", 0))
            # All of a node's GPUs, so that none is busy and torch sees each.
            nodes[name] = actor.options(scheduling_strategy=strategy, num_gpus=gpus).remote(
                name, gpus
            )
    try:
        wait_for(nodes)
        yield nodes
    finally:
        for each in nodes.values():
            ray.kill(each)


def wait_for(nodes: dict[str, Any]) -> None:
    """Wait until all actors answer."""
    answers = {each.now.remote(): name for name, each in nodes.items()}
    _, late = ray.wait(list(answers), num_returns=len(answers), timeout=START_TIMEOUT_S)
    if late:
        raise UserError(
            f"These nodes cannot be checked: {', '.join(answers[each] for each in late)}. No "
            f"process started there within {START_TIMEOUT_S} s. The check needs all GPUs of a "
            "node, and probably other work uses some of them (`ray status` shows it). Run it again "
            "when that work is done."
        )


def examine_nodes(
    nodes: dict[str, Any], store: StoragePath | None, storage: Path | None
) -> Iterator[CheckResult]:
    """Run each check on all nodes concurrently, one check after another."""
    skews = {name: clock_skew(each) for name, each in nodes.items()}
    answers: list[NodeFacts] = ray.get([each.look.remote(storage) for each in nodes.values()])
    facts = [add_clock_skew(each, *skews[each.node]) for each in answers]
    # The command's own environment counts too, since nodes unpickle what it sends.
    own = NodeFacts(
        node=COMMAND, versions=probe.versions() | {probe.DRIVER: answers[0].versions[probe.DRIVER]}
    )
    yield from checks.judge_versions([*facts, own])
    for each in facts:
        yield from checks.judge_node(each)
    if store is not None:
        read = [each.read.remote(store, seed) for seed, each in enumerate(nodes.values())]
        readings = dict(zip(nodes, ray.get(read), strict=True))
        gpus = max(len(each.gpus) for each in facts)
        yield from checks.judge_readings(str(store), readings, gpus)
    if storage is not None:
        yield from examine_storage(nodes, storage)
    # Gradients are exchanged between the nodes with GPUs, if there are any.
    training = [node for node, each in zip(nodes.values(), facts, strict=True) if each.gpus]
    linked = training or list(nodes.values())
    if len(linked) > 1:
        yield examine_link(linked)


def clock_skew(probe: Any) -> tuple[float, float]:
    """Return how far a node's clock is ahead of the local one, and the error bound: half of the
    shortest of several round-trip times (Cristian 1989)."""
    ways = []
    for _ in range(PINGS):
        asked = time.time()
        answers = ray.get(probe.now.remote())
        back = time.time()
        ways.append((back - asked, answers - (asked + back) / 2))
    there_and_back, ahead = min(ways)
    return ahead, there_and_back / 2


def add_clock_skew(facts: NodeFacts, ahead_s: float, error_s: float) -> NodeFacts:
    """Return the facts with the clock difference, which only the calling process can measure."""
    return replace(facts, ahead_s=ahead_s, clock_error_s=error_s)


def examine_storage(nodes: dict[str, Any], storage: Path) -> Iterator[CheckResult]:
    """Check the storage: every node writes a file, then every node reads all files."""
    folder = storage / f".doctor-{uuid.uuid4().hex[:8]}"
    written = ray.get([each.write.remote(folder) for each in nodes.values()])
    unseen = ray.get([each.unseen.remote(folder, list(nodes)) for each in nodes.values()])
    ray.get([each.remove_markers.remote(folder) for each in nodes.values()])
    yield from checks.judge_storage(
        str(storage),
        dict(zip(nodes, written, strict=True)),
        dict(zip(nodes, unseen, strict=True)),
    )


def examine_link(probes: list[Any]) -> CheckResult:
    """Check the network with an all-reduce over one process per node."""
    count = len(probes)
    try:
        address, port = ray.get(probes[0].meeting.remote())
        speeds = ray.get(
            [each.link.remote(rank, count, address, port) for rank, each in enumerate(probes)],
            timeout=LINK_TIMEOUT_S,
        )
    except (ray.exceptions.RayError, RuntimeError) as error:
        text = str(error).strip().splitlines()[-1] if str(error) else type(error).__name__
        return checks.judge_link(None, text, count)
    return checks.judge_link(min(speeds), "", count)
