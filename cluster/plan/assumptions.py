"""What a plan assumes where no file tells."""

from dataclasses import dataclass

from cluster.plan.gpus import GpuKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What no file tells; each can be set."""

    gpu: GpuKind = "h100"
    """Kind of GPU."""
    gpus_per_node: int = 0
    """GPUs of a machine; 0: as usual for the kind."""
    utilisation: float = 0.4
    """Share of the GPU's peak that the step reaches; an assumption until it is measured."""
    step_ms: float = 0.0
    """A worker's step without its neighbours, as measured (`speed/step_ms` of a run on one GPU);
    0: from the arithmetic and the utilisation."""
    network_gbit: float = 400.0
    """Gbit/s of a machine, all its cards together."""
    network_efficiency: float = 0.8
    """Share of it that all-reduce reaches."""
    cores_per_gpu: float = 1.0
    """Processor cores that each worker has for its data."""
    store_gb_per_s: float = 10.0
    """GB/s that the storage of the store gives to all."""
    write_gb_per_s: float = 1.0
    """GB/s of the one worker that writes a checkpoint."""
    price: float = 0.0
    """Of a GPU for an hour, in any currency; 0: no cost is shown."""
