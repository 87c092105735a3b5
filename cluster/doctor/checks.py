"""Compare the facts of nodes with the requirements of a run; each failed check has a remedy."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from cluster.doctor.probe import DRIVER, NONE, SOURCES, NodeFacts, ReadSpeed

MIN_SHARED_MIB = 1024
"""NCCL needs tens of MiB for each pair of GPUs of a machine, and Ray needs space for objects in
transit; with Docker's default of 64 MiB a run fails with a bus error."""
MIN_FILES = 4096
MIN_FREE_MIB = 10 * 1024
"""Checkpoints of the default networks take 0.5 GiB each, and Ray spills to its temporary folder."""
MAX_SKEW_S = 1.0
"""Nothing in this project is ordered by clocks, but logs of nodes are compared, and object stores
refuse requests with a wrong time (S3: 15 minutes)."""
MIN_SLICES_PER_GPU = 400.0
"""Slices/s of one H100: 200 pairs/s of two slices (docs/scaling.md)."""
MIN_LINK_GB_PER_S = 0.1
"""A link of 1 Gbit/s. Below it the gradients of a step take over two seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """The result of one check."""

    what: str
    where: str
    """The node, or "all" for checks of all nodes together."""
    passed: bool
    found: str
    remedy: str = ""


def judge_versions(nodes: Sequence[NodeFacts]) -> Iterator[CheckResult]:
    """Check that each version is present, and equal on all nodes; deviating nodes are listed."""
    for name in nodes[0].versions:
        # A head without GPUs needs no driver for them.
        asked = [each for each in nodes if each.num_promised] if name == DRIVER else []
        found = {each.node: each.versions[name] for each in asked or nodes}
        counts = Counter(found.values())
        usual = counts.most_common(1)[0][0]
        missing = [node for node, value in found.items() if value == NONE]
        if len(counts) == 1:
            yield CheckResult(
                what=name,
                where="all",
                passed=not missing,
                found=usual,
                remedy="Run make env, which installs this project's constraints.txt",
            )
            continue
        odd = [node for node, value in found.items() if value != usual]
        yield CheckResult(
            what=name,
            where=", ".join(odd),
            passed=False,
            found=f"{', '.join(sorted({found[node] for node in odd}))}; elsewhere {usual}",
            remedy="Give every node the same project folder or image"
            if name == SOURCES
            else "Give every node the same environment (constraints.txt, one image)",
        )


def judge_node(facts: NodeFacts) -> Iterator[CheckResult]:
    """Check GPUs, shared memory, file limits, disks and clock of one node."""
    where = facts.node
    yield from judge_gpus(facts)
    yield CheckResult(
        what="/dev/shm",
        where=where,
        passed=facts.shared_mib >= MIN_SHARED_MIB,
        found=f"{facts.shared_mib} MiB, needs {MIN_SHARED_MIB}",
        remedy="Start with docker run --shm-size=16g; in Kubernetes an emptyDir of medium Memory",
    )
    unlimited = facts.files < 0
    yield CheckResult(
        what="open files",
        where=where,
        passed=unlimited or facts.files >= MIN_FILES,
        found="unlimited" if unlimited else f"at most {facts.files}, needs {MIN_FILES}",
        remedy="Before Ray starts: ulimit -n 65536; docker run --ulimit nofile=65536",
    )
    for folder, mib in facts.free_mib.items():
        yield CheckResult(
            what="free disk",
            where=where,
            passed=mib >= MIN_FREE_MIB,
            found=f"{mib / 1024:.1f} GiB in {folder}, needs {MIN_FREE_MIB // 1024}",
            remedy="Free space, or use another disk: --run.storage for runs, --temp-dir of ray "
            "start for Ray",
        )
    skew = abs(facts.ahead_s)
    yield CheckResult(
        what="clock",
        where=where,
        passed=skew - facts.clock_error_s <= MAX_SKEW_S,
        found=f"{facts.ahead_s:+.3f} s ± {facts.clock_error_s:.3f}",
        remedy="Start a time service on the node (chrony, systemd-timesyncd)",
    )


def judge_gpus(facts: NodeFacts) -> Iterator[CheckResult]:
    """Check that the GPUs that Ray assigns are usable and compute correctly."""
    count, promised = len(facts.gpus), facts.num_promised
    if count < promised:
        yield CheckResult(
            what="GPUs",
            where=facts.node,
            passed=False,
            found=f"Ray assigns {promised}, but {count} are usable: {facts.gpu_trouble}",
            remedy="Install driver r580 or newer; docker run --gpus all; in Kubernetes the device "
            "plugin; and torch's CUDA build",
        )
    elif count == 0:
        yield CheckResult(
            what="GPUs", where=facts.node, passed=True, found="none, and Ray assigns none"
        )
    for number, gpu in enumerate(facts.gpus):
        errors = int(gpu.uncorrected) if gpu.uncorrected.isdigit() else 0
        yield CheckResult(
            what=f"GPU {number}",
            where=facts.node,
            passed=not gpu.computes and errors == 0,
            found=f"{gpu.name}, {gpu.celsius} °C, {gpu.uncorrected} uncorrected ECC errors"
            + (f"; {gpu.computes}" if gpu.computes else ""),
            remedy="Remove the node (nvidia-smi -q shows details); the GPU needs a reset or "
            "replacement",
        )


def judge_readings(
    store: str, readings: Mapping[str, ReadSpeed], gpus: int
) -> Iterator[CheckResult]:
    """Check that the store is the same on all nodes, intact where sampled, and fast enough."""
    counts = Counter(each.num_volumes for each in readings.values() if not each.trouble)
    usual = counts.most_common(1)[0][0] if counts else 0
    for node, reading in readings.items():
        wanted = gpus * MIN_SLICES_PER_GPU
        if reading.trouble or reading.num_volumes != usual:
            yield CheckResult(
                what="store",
                where=node,
                passed=False,
                found=reading.trouble or f"{reading.num_volumes} volumes; elsewhere {usual}",
                remedy="Mount it on every node at the same path; python -m data_prep check "
                f"{store} --full",
            )
            continue
        yield CheckResult(
            what="store",
            where=node,
            passed=reading.slices_per_s >= wanted,
            found=f"{reading.num_volumes} volumes, one verified; {reading.slices_per_s:,.0f} "
            f"slices/s, {reading.mib_per_s:,.0f} MiB/s" + (f", needs {wanted:,.0f}" * (gpus > 0)),
            remedy="Raise --data.cache-gib, or copy the store to faster storage",
        )


def judge_storage(
    storage: str, refused: Mapping[str, str], unseen: Mapping[str, Sequence[str]]
) -> Iterator[CheckResult]:
    """Check that every node can write, and can read the files of the others."""
    for node, trouble in refused.items():
        blind = [other for other in unseen[node] if not refused[other]]
        if trouble:
            found, remedy = trouble, f"Make {storage} writable for the user that runs Ray there"
        elif blind:
            found = f"cannot see the files of {', '.join(blind)}"
            remedy = f"{storage} must be one file system, mounted on every node (NFS, EFS, Lustre)"
        else:
            found, remedy = "written, and read by all nodes", ""
        yield CheckResult(
            what="storage", where=node, passed=not trouble and not blind, found=found, remedy=remedy
        )


def judge_link(gb_per_s: float | None, trouble: str, num_nodes: int) -> CheckResult:
    """Check that the network between the nodes is fast enough for gradients."""
    if gb_per_s is None:
        return CheckResult(
            what="all-reduce",
            where="all",
            passed=False,
            found=trouble,
            remedy="Open all ports between the nodes; select the right network with "
            "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME",
        )
    return CheckResult(
        what="all-reduce",
        where="all",
        passed=gb_per_s >= MIN_LINK_GB_PER_S,
        found=f"{gb_per_s:.2f} GB/s over {num_nodes} nodes, needs {MIN_LINK_GB_PER_S:g}",
        remedy="Select a faster network with GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME",
    )


def results_table(findings: Sequence[CheckResult]) -> Table:
    """Return a table of the findings, failed checks with their remedies first."""
    remedies = [] if all(finding.passed for finding in findings) else ["Remedy"]
    result = Table("", "Check", "Node", "Found", *remedies, box=SIMPLE)
    for finding in sorted(findings, key=lambda finding: finding.passed):
        mark, remedy = ("OK", "") if finding.passed else ("[red]FAIL[/red]", finding.remedy)
        last = [remedy] if remedies else []
        result.add_row(mark, finding.what, finding.where, finding.found, *last)
    return result
