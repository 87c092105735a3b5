"""The resources of a job: its machines, and those of the driver process."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from mrct.errors import UsageError

Target = Literal["ray", "kuberay", "slurm"]
"""Target of a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Machines of a Kubernetes or Slurm job; not used with a running Ray cluster."""

    HELP_OPTIONS: ClassVar = ("nodes", "gpus_per_node", "image", "time_limit")

    name: str = "cyclegan"
    """Name of the job: lower-case letters, digits and hyphens."""
    nodes: int = 1
    """Machines for training; KubeRay adds a small one for the head."""
    min_nodes: int = 0
    """KubeRay: start with at least this many, and add the others as they become available; 0:
    all."""
    gpus_per_node: int = 1
    """GPUs per machine; 0 trains on CPUs."""
    cpus_per_node: int = 8
    """CPU cores per machine."""
    memory_gib: int = 64
    """Memory per machine."""
    image: str = ""
    """KubeRay: container image with this project (cluster/Dockerfile)."""
    volume_claim: str = "cyclegan-data"
    """KubeRay: volume claim with stores and runs, mounted at /data."""
    time_limit: str = "24:00:00"
    """Slurm: time limit. Five minutes before it the command saves, and the job is requeued."""
    partition: str = ""
    """Slurm: the partition; empty: the site's default."""
    account: str = ""
    """Slurm: the account to charge; empty: the user's default."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", self.name):
            raise UsageError(
                f"The job's name is {self.name!r}; Kubernetes takes up to 40 lower-case letters, "
                "digits and hyphens only. Give a valid --name."
            )
        counts = {
            "--nodes": self.nodes,
            "--cpus-per-node": self.cpus_per_node,
            "--memory-gib": self.memory_gib,
        }
        for flag, value in counts.items():
            if value < 1:
                raise UsageError(f"{flag} must be at least 1.")
        if self.gpus_per_node < 0 or not 0 <= self.min_nodes <= self.nodes:
            raise UsageError("--gpus-per-node must be 0 or more, --min-nodes at most --nodes.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """Resources of the command's own process, besides those of its workers."""

    entrypoint_cpus: float = 0.0
    """CPU cores; 0: the command runs on the head, beside others."""
    entrypoint_gpus: float = 0.0
    """GPUs; for a command that computes in its own process, such as cyclegan.evaluate."""
    entrypoint_memory_gib: float = 0.0
    """Memory that Ray reserves for the command; not on KubeRay."""

    def __post_init__(self) -> None:
        if min(self.entrypoint_cpus, self.entrypoint_gpus, self.entrypoint_memory_gib) < 0:
            raise UsageError("--entrypoint-cpus, -gpus and -memory-gib must be 0 or more.")
