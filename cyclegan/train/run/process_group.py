"""The process group of a run's workers under Ray Train: none for one worker, and on one machine on
loopback alone."""

from typing import Any

import ray
import ray.train.torch
from ray.train.torch.config import _TorchBackend

from cyclegan.train.distributed import LOOPBACK, join_group, open_port


class ProcessGroupConfig(ray.train.torch.TorchConfig):
    """Configuration of Ray Train that starts our process group instead of Ray's."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return the class that starts and ends the process group."""
        return ProcessGroup


class ProcessGroup(_TorchBackend):
    """Start of the process group from Ray's controller; its end is Ray's own.

    Ray's own start would let torch listen on all interfaces, for a single worker too.
    """

    def on_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Let all workers join one process group, if there are several."""
        world_size = len(worker_group)
        if world_size == 1:
            return
        addresses = worker_group.execute(ray.util.get_node_ip_address)
        address = LOOPBACK if len(set(addresses)) == 1 else addresses[0]
        uses_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        port = worker_group.execute_single(0, open_port, address)
        joining = [
            worker_group.execute_single_async(
                rank,
                join_group,
                rank,
                world_size,
                address=address,
                port=port,
                backend="nccl" if uses_gpus else "gloo",
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(world_size)
        ]
        ray.get(joining)

    def on_training_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Set none of the variables of torch's own start, which nothing here reads."""
