"""Replay pools of earlier fakes for the discriminators (Shrivastava 2017, section 2.3).

A pool belongs to a logical shard, and what happens to an image is a pure function of seed, shard
and step, so that results do not depend on the number of workers.

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
"""Stride between the random-number indices of consecutive steps of one shard."""
Images = Float[Tensor, "N D H W"]


class ReplayPools:
    """The pools of one domain, one per logical shard of this worker.

    As in the code of Zhu 2017, a pool fills first. Then a new fake is returned with probability one
    half; otherwise it replaces a stored one, which is returned instead.
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
        # A pool smaller than a shard would return an image twice in one step.
        self.capacity = 0 if capacity == 0 else max(capacity, shard_size)
        self.images = torch.zeros(len(shards) * self.capacity, channels, *size, device=device)

    def swap(self, fakes: Images, step: int) -> Images:
        """Return the images that the discriminator sees instead of these fakes; no sync.

        `fakes` is copied, not kept. A non-finite fake is never stored: it would corrupt much later
        steps.
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
        """Return, for each of the N images, its slot, whether to store it in the slot, and whether
        to return the slot's image instead."""
        seen = step * self.shard_size + np.arange(self.shard_size)
        filling = seen < self.capacity
        slots, stored, returned = [], [], []
        for position, shard in enumerate(self.shards):
            # One row of numbers per shard: the order in which slots are drawn, then the swaps.
            index = np.array([step * MAX_SHARDS + shard])
            u = uniforms(self.seed, self.stream, index, self.capacity + self.shard_size)[0]
            # The first drawn slots that are not being filled: no slot is used twice in a step.
            free = np.setdiff1d(u[: self.capacity].argsort(), seen[filling], assume_unique=True)
            slot = np.where(filling, seen, np.resize(free, self.shard_size))
            swaps = ~filling & (u[self.capacity :] < 0.5)
            slots.append(position * self.capacity + slot)
            stored.append(filling | swaps)
            returned.append(swaps)
        return np.concatenate(slots), np.concatenate(stored), np.concatenate(returned)

    def state_of(self, shard: int) -> Float[Tensor, "K D H W"]:
        """Return the pool of one shard: a view, for saving and for restoring in place."""
        position = self.shards.index(shard)
        return self.images[position * self.capacity : (position + 1) * self.capacity]


def column(flags: Tensor) -> Tensor:
    """Reshape [N] to [N, 1, 1, 1], to select between images."""
    return flags[:, None, None, None]
