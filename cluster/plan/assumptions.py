"""The assumptions of a plan."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from cluster.plan.gpus import GpuKind

Scoring = Literal["inline", "beside"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """Assumed quantities that no file contains; each can be set."""

    HELP_OPTIONS: ClassVar = ("gpu", "gpus_per_node", "batch", "step_ms", "network_gbit", "price")

    gpu: GpuKind = "h100"
    """Kind of GPU."""
    gpus_per_node: int = 0
    """GPUs per machine; 0: the usual number for the kind."""
    batch: Literal["preset", "auto"] = "preset"
    """Pairs of a step: the preset's, or with `auto` as many as `--batch auto` of the training takes
    for this kind of GPU."""
    utilisation: float = 0.4
    """Share of the GPU's peak throughput that the step reaches; an assumption until it is
    measured."""
    step_ms: float = 0.0
    """Measured step time of a single worker (`speed/step_ms` of a run on one GPU); 0: estimated
    from the FLOP count and the utilisation."""
    launch_us: float = 7.0
    """Host time in µs to launch a kernel; an assumption until it is measured."""
    network_gbit: float = 400.0
    """Network bandwidth of a machine in Gbit/s, over all its network cards."""
    network_efficiency: float = 0.8
    """Share of the network bandwidth that all-reduce reaches."""
    cores_per_gpu: float = 1.0
    """CPU cores per worker for loading data."""
    store_gb_per_s: float = 10.0
    """Bandwidth of the store's storage in GB/s, over all readers."""
    scoring: Scoring = "beside"
    """Where validation computes its scores (`scale.scoring`): `beside` the training, which `auto`
    chooses for workers with a core to spare, or `inline`, while the workers wait."""
    write_gb_per_s: float = 1.0
    """Bandwidth in GB/s of the one worker that writes a checkpoint."""
    price: float = 0.0
    """Price of a GPU hour, in any currency; 0: no cost is shown."""
