"""Looks at every node of a cluster, with an actor on each that does what `probe` says there.

Without a cluster it looks at this machine, in this process.
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
from cluster.doctor.checks import Finding
from cluster.doctor.probe import NodeFacts, Reading
from mrct.errors import UserError
from mrct.ray_session import ray_session
from mrct.storage.paths import StoragePath

PINGS = 5
HERE = "this machine"
COMMAND = "this command"
LINK_TIMEOUT_S = 90
START_TIMEOUT_S = 180
"""For a process on each node, which may have to wait for a runtime environment too."""


class Examiner:
    """What runs on a node."""

    def __init__(self, node: str, num_promised: int) -> None:
        self.node, self.num_promised = node, num_promised

    def look(self, storage: Path | None) -> NodeFacts:
        """The machine."""
        return probe.look(self.node, storage, self.num_promised)

    def now(self) -> float:
        """Its clock, in seconds."""
        return time.time()

    def read(self, store: StoragePath, seed: int) -> Reading:
        """The store."""
        return probe.read_store(store, seed)

    def write(self, folder: Path) -> str:
        """A word for the others."""
        return probe.write_word(folder, self.node)

    def unseen(self, folder: Path, nodes: list[str]) -> list[str]:
        """Those whose word is not there."""
        return probe.missing_words(folder, nodes)

    def sweep(self, folder: Path) -> None:
        """Take away what the nodes left."""
        probe.sweep(folder)

    def address(self) -> str:
        """Where others reach this node, with a port that is free now."""
        import socket

        with socket.create_server(("", 0)) as free:
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def link(self, rank: int, world_size: int, store: str) -> float:
        """An all-reduce with the others, GB/s."""
        return all_reduce_gb_per_s(rank, world_size, store)


def examine(
    address: str | None = None, store: StoragePath | None = None, storage: Path | None = None
) -> Iterator[Finding]:
    """Look at every node of the cluster at `address` or RAY_ADDRESS, else at this machine.

    Without a store, none is looked at; nor a storage folder without one.

    Raises:
        UserError: Other machines reach the cluster, and it asks nobody for a token.
    """
    if not (address or os.environ.get("RAY_ADDRESS")):
        yield from examine_here(store, storage)
        return
    with ray_session(address), examiners() as nodes:
        yield from examine_nodes(nodes, store, storage)


def examine_here(store: StoragePath | None, storage: Path | None) -> Iterator[Finding]:
    """This machine alone, without Ray."""
    facts = probe.look(HERE, storage, 0)
    yield from checks.judge_versions([facts])
    yield from checks.judge_node(facts)
    if store is not None:
        readings = {HERE: probe.read_store(store, 0)}
        yield from checks.judge_readings(str(store), readings, len(facts.gpus))
    if storage is not None:
        folder = storage / f".doctor-{uuid.uuid4().hex[:8]}"
        refused = {HERE: probe.write_word(folder, HERE)}
        unseen = {HERE: probe.missing_words(folder, [HERE])}
        probe.sweep(folder)
        yield from checks.judge_storage(str(storage), refused, unseen)


@contextmanager
def examiners() -> Iterator[dict[str, Any]]:
    """An actor on each node of the connected cluster, by the node's name.

    Raises:
        UserError: Some node has none in time, most often as its GPUs are busy.
    """
    actor = ray.remote(num_cpus=0)(Examiner)
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
    """Until all of them answer."""
    answers = {each.now.remote(): name for name, each in nodes.items()}
    _, late = ray.wait(list(answers), num_returns=len(answers), timeout=START_TIMEOUT_S)
    if late:
        raise UserError(
            f"{', '.join(answers[each] for each in late)} cannot be looked at: no process started "
            f"there within {START_TIMEOUT_S} s. The doctor takes all GPUs of a node, and most "
            "likely other work has some of them (`ray status` shows it). Run it when that is done."
        )


def examine_nodes(
    nodes: dict[str, Any], store: StoragePath | None, storage: Path | None
) -> Iterator[Finding]:
    """Ask all of them at once, each thing in turn."""
    skews = {name: skew(each) for name, each in nodes.items()}
    told: list[NodeFacts] = ray.get([each.look.remote(storage) for each in nodes.values()])
    facts = [with_clock(each, *skews[each.node]) for each in told]
    # The command takes part too: what it sends is unpickled on the nodes.
    own = NodeFacts(
        node=COMMAND, versions=probe.versions() | {probe.DRIVER: told[0].versions[probe.DRIVER]}
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
    # Gradients travel between nodes with GPUs, where there are any.
    training = [node for node, each in zip(nodes.values(), facts, strict=True) if each.gpus]
    linked = training or list(nodes.values())
    if len(linked) > 1:
        yield examine_link(linked)


def skew(examiner: Any) -> tuple[float, float]:
    """How far a node's clock is ahead of ours, and how wrong that may be: half of the way there and
    back (Cristian 1989), the shortest of several."""
    ways = []
    for _ in range(PINGS):
        asked = time.time()
        told = ray.get(examiner.now.remote())
        back = time.time()
        ways.append((back - asked, told - (asked + back) / 2))
    there_and_back, ahead = min(ways)
    return ahead, there_and_back / 2


def with_clock(facts: NodeFacts, ahead_s: float, error_s: float) -> NodeFacts:
    """The same, with what only the asking side knows."""
    return replace(facts, ahead_s=ahead_s, clock_error_s=error_s)


def examine_storage(nodes: dict[str, Any], storage: Path) -> Iterator[Finding]:
    """Every node writes a file, then every node looks for all of them."""
    folder = storage / f".doctor-{uuid.uuid4().hex[:8]}"
    written = ray.get([each.write.remote(folder) for each in nodes.values()])
    unseen = ray.get([each.unseen.remote(folder, list(nodes)) for each in nodes.values()])
    ray.get([each.sweep.remote(folder) for each in nodes.values()])
    yield from checks.judge_storage(
        str(storage),
        dict(zip(nodes, written, strict=True)),
        dict(zip(nodes, unseen, strict=True)),
    )


def examine_link(examiners: list[Any]) -> Finding:
    """An all-reduce over one process of each node."""
    count = len(examiners)
    try:
        meeting = ray.get(examiners[0].address.remote())
        speeds = ray.get(
            [each.link.remote(rank, count, meeting) for rank, each in enumerate(examiners)],
            timeout=LINK_TIMEOUT_S,
        )
    except (ray.exceptions.RayError, RuntimeError) as error:
        text = str(error).strip().splitlines()[-1] if str(error) else type(error).__name__
        return checks.judge_link(None, text, count)
    return checks.judge_link(min(speeds), "", count)
