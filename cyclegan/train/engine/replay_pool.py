"""Replay pools: earlier fakes for the critics, so that they do not forget (Shrivastava 2017, 2.3).

A pool belongs to a logical shard, and what happens to an image is a pure function of seed, shard
and step: a run goes on alike on any number of workers.

Axes: N images of this worker's shards in shard order, K images in one pool, D channels (an image
and its conditions), H rows, W columns.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.data.philox import Stream, uniforms

MAX_SHARDS = 1 << 20
"""Steps of one shard are this far apart in their random numbers."""
Images = Float[Tensor, "N D H W"]


class ReplayPools:
    """The pools of one domain, one for each logical shard that this worker runs.

    As in Zhu 2017's code a pool fills first; then a new fake is handed through with probability
    one half, and else takes the place of a stored one, which is handed out instead.
    """

    def __init__(
        self,
        *,
        shards: range,
        shard_size: int,
        capacity: int,
        size: tuple[int, int],
        seed: int,
        stream: Stream,
        device: torch.device,
        channels: int = 1,
    ) -> None:
        self.shards, self.shard_size = shards, shard_size
        self.seed, self.stream = seed, stream
        # A pool smaller than a shard would hand out an image twice in one step.
        self.capacity = 0 if capacity == 0 else max(capacity, shard_size)
        self.images = torch.zeros(len(shards) * self.capacity, channels, *size, device=device)

    def swap(self, fakes: Images, step: int) -> Images:
        """The images that the critic sees instead of these fakes; no sync, `fakes` is not kept.

        A fake that is not finite is never stored: it would poison steps long after its own.
        """
        if self.capacity == 0:
            return fakes
        slots, stored, returned = (
            torch.from_numpy(plan).to(fakes.device, non_blocking=True) for plan in self.plan(step)
        )
        earlier = self.images[slots]
        finite = fakes.isfinite().flatten(1).all(1)
        self.images[slots] = torch.where(column(stored & finite), fakes, earlier)
        return torch.where(column(returned), earlier, fakes)

    def plan(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """For each of the N images: a slot, whether to store it, whether to return the slot's."""
        seen = step * self.shard_size + np.arange(self.shard_size)
        filling = seen < self.capacity
        slots, stored, returned = [], [], []
        for position, shard in enumerate(self.shards):
            # One row of numbers a shard: where each slot comes in the draw, then who swaps.
            index = np.array([step * MAX_SHARDS + shard])
            u = uniforms(self.seed, self.stream, index, self.capacity + self.shard_size)[0]
            # The first slots of the draw that are not being filled: no slot twice in a step.
            free = np.setdiff1d(u[: self.capacity].argsort(), seen[filling], assume_unique=True)
            slot = np.where(filling, seen, np.resize(free, self.shard_size))
            swaps = ~filling & (u[self.capacity :] < 0.5)
            slots.append(position * self.capacity + slot)
            stored.append(filling | swaps)
            returned.append(swaps)
        return np.concatenate(slots), np.concatenate(stored), np.concatenate(returned)

    def state_of(self, shard: int) -> Float[Tensor, "K D H W"]:
        """The pool of one shard: a view, to be read and to be restored in place."""
        position = self.shards.index(shard)
        return self.images[position * self.capacity : (position + 1) * self.capacity]


def column(flags: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, 1], to choose between images."""
    return flags[:, None, None, None]
