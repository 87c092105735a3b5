"""What nodes told, against what a run needs: findings, each with its remedy. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from cluster.doctor.probe import DRIVER, NONE, SOURCES, NodeFacts, Reading

MIN_SHARED_MIB = 1024
"""NCCL takes tens of MiB for each pair of GPUs of a machine, Ray its objects in flight; Docker's
64 MiB end in a bus error in the middle of a run."""
MIN_FILES = 4096
MIN_FREE_MIB = 10 * 1024
"""Checkpoints of the default networks take 0.5 GiB each, Ray spills to its temporary folder."""
MAX_SKEW_S = 1.0
"""Nothing of ours is ordered by clocks, but logs are read side by side, and object stores refuse
requests from far off (S3 after 15 minutes)."""
MIN_SLICES_PER_GPU = 400.0
"""Slices/s of one H100: 200 pairs/s of two slices (docs/scaling.md)."""
MIN_LINK_GB_PER_S = 0.1
"""A link of 1 Gbit/s. Below it the gradients of a step take over two seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    where: str
    """The node; "all" for what concerns them together."""
    well: bool
    found: str
    remedy: str = ""


def judge_versions(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """Each version must be there, and equal everywhere; the odd nodes are named."""
    for name in nodes[0].versions:
        # A head without GPUs needs no driver for them.
        asked = [each for each in nodes if each.num_promised] if name == DRIVER else []
        found = {each.node: each.versions[name] for each in asked or nodes}
        counts = Counter(found.values())
        usual = counts.most_common(1)[0][0]
        missing = [node for node, value in found.items() if value == NONE]
        if len(counts) == 1:
            yield Finding(
                what=name,
                where="all",
                well=not missing,
                found=usual,
                remedy="make env, from this project's constraints.txt",
            )
            continue
        odd = [node for node, value in found.items() if value != usual]
        yield Finding(
            what=name,
            where=", ".join(odd),
            well=False,
            found=f"{', '.join(sorted({found[node] for node in odd}))}; elsewhere {usual}",
            remedy="give every node the same project folder or image"
            if name == SOURCES
            else "give every node the same environment (constraints.txt, one image)",
        )


def judge_node(facts: NodeFacts) -> Iterator[Finding]:
    """GPUs, shared memory, file limits, disks and clock of one node."""
    where = facts.node
    yield from judge_gpus(facts)
    yield Finding(
        what="/dev/shm",
        where=where,
        well=facts.shared_mib >= MIN_SHARED_MIB,
        found=f"{facts.shared_mib} MiB, wanted {MIN_SHARED_MIB}",
        remedy="docker run --shm-size=16g; in Kubernetes an emptyDir of medium Memory",
    )
    unlimited = facts.files < 0
    yield Finding(
        what="open files",
        where=where,
        well=unlimited or facts.files >= MIN_FILES,
        found="unlimited" if unlimited else f"at most {facts.files}, wanted {MIN_FILES}",
        remedy="before Ray starts: ulimit -n 65536; docker run --ulimit nofile=65536",
    )
    for folder, mib in facts.free_mib.items():
        yield Finding(
            what="free disk",
            where=where,
            well=mib >= MIN_FREE_MIB,
            found=f"{mib / 1024:.1f} GiB in {folder}, wanted {MIN_FREE_MIB // 1024}",
            remedy="free some, or move: --run.storage for runs, --temp-dir of ray start for Ray",
        )
    skew = abs(facts.ahead_s)
    yield Finding(
        what="clock",
        where=where,
        well=skew - facts.clock_error_s <= MAX_SKEW_S,
        found=f"{facts.ahead_s:+.3f} s ± {facts.clock_error_s:.3f}",
        remedy="start a time service on the node (chrony, systemd-timesyncd)",
    )


def judge_gpus(facts: NodeFacts) -> Iterator[Finding]:
    """Are the GPUs that Ray gives out there, and do they compute?"""
    count, promised = len(facts.gpus), facts.num_promised
    if count < promised:
        yield Finding(
            what="GPUs",
            where=facts.node,
            well=False,
            found=f"Ray gives out {promised}, usable are {count}. {facts.gpu_trouble}",
            remedy="install driver r580 or newer; docker run --gpus all; in Kubernetes the device "
            "plugin; and torch's CUDA build",
        )
    elif count == 0:
        yield Finding(what="GPUs", where=facts.node, well=True, found="none, and none promised")
    for number, gpu in enumerate(facts.gpus):
        errors = int(gpu.uncorrected) if gpu.uncorrected.isdigit() else 0
        yield Finding(
            what=f"GPU {number}",
            where=facts.node,
            well=not gpu.computes and errors == 0,
            found=f"{gpu.name}, {gpu.celsius} °C, {gpu.uncorrected} uncorrected ECC errors"
            + (f"; {gpu.computes}" if gpu.computes else ""),
            remedy="take the node out (nvidia-smi -q shows more); a reset or a new card is due",
        )


def judge_readings(store: str, readings: Mapping[str, Reading], gpus: int) -> Iterator[Finding]:
    """Is the store the same everywhere, whole where it was looked at, and fast enough?"""
    counts = Counter(each.num_volumes for each in readings.values() if not each.trouble)
    usual = counts.most_common(1)[0][0] if counts else 0
    for node, reading in readings.items():
        wanted = gpus * MIN_SLICES_PER_GPU
        if reading.trouble or reading.num_volumes != usual:
            yield Finding(
                what="store",
                where=node,
                well=False,
                found=reading.trouble or f"{reading.num_volumes} volumes; elsewhere {usual}",
                remedy=f"mount it on every node at the same path; python -m data_prep check {store}"
                " --full",
            )
            continue
        yield Finding(
            what="store",
            where=node,
            well=reading.slices_per_s >= wanted,
            found=f"{reading.num_volumes} volumes, one verified; {reading.slices_per_s:,.0f} "
            f"slices/s, {reading.mib_per_s:,.0f} MiB/s" + (f", wanted {wanted:,.0f}" * (gpus > 0)),
            remedy="raise --data.cache-gib, or copy the store to faster storage",
        )


def judge_storage(
    storage: str, refused: Mapping[str, str], unseen: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Could every node write, and does every node see what the others wrote?"""
    for node, trouble in refused.items():
        blind = [other for other in unseen[node] if not refused[other]]
        if trouble:
            found, remedy = trouble, f"make {storage} writable for the user who runs Ray there"
        elif blind:
            found = f"does not see what {', '.join(blind)} wrote"
            remedy = f"{storage} must be one file system, mounted on every node (NFS, EFS, Lustre)"
        else:
            found, remedy = "written, and read by all", ""
        yield Finding(
            what="storage", where=node, well=not trouble and not blind, found=found, remedy=remedy
        )


def judge_link(gb_per_s: float | None, trouble: str, num_nodes: int) -> Finding:
    """Is the network between the nodes fast enough for gradients?"""
    if gb_per_s is None:
        return Finding(
            what="all-reduce",
            where="all",
            well=False,
            found=trouble,
            remedy="open all ports between the nodes; name the right network: GLOO_SOCKET_IFNAME, "
            "NCCL_SOCKET_IFNAME",
        )
    return Finding(
        what="all-reduce",
        where="all",
        well=gb_per_s >= MIN_LINK_GB_PER_S,
        found=f"{gb_per_s:.2f} GB/s over {num_nodes} nodes, wanted {MIN_LINK_GB_PER_S:g}",
        remedy="the nodes talk over a slow network: GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME",
    )


def table(findings: Sequence[Finding]) -> Table:
    """What is not well first, with its remedy."""
    result = Table("", "what", "node", "found", "remedy", box=SIMPLE)
    for finding in sorted(findings, key=lambda finding: finding.well):
        mark, remedy = ("ok", "") if finding.well else ("[red]BAD[/red]", finding.remedy)
        result.add_row(mark, finding.what, finding.where, finding.found, remedy)
    return result
