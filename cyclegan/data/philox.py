"""Counter-based random numbers: any of them can be had directly, in any order, on any machine.

Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), numpy's own.
Only its raw bits are used: they are fixed by the algorithm, while numpy may change what its
distributions do with them. It knows nothing of slices.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """The independent sequences that grow from one seed. A number keeps its meaning for good."""

    MRI_ORDER = 0
    CT_ORDER = 1
    PARTNER = 2
    MRI_VARIATION = 3
    CT_VARIATION = 4
    MRI_REPLAY = 5
    CT_REPLAY = 6


def uniforms(
    seed: int, stream: Stream, indices: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each index: [len(indices), count].

    One call to the generator covers the span from the smallest to the largest index, so indices
    should lie close together, as those of one step do.
    """
    blocks = -(-count // 4)  # one counter value gives four 64-bit words
    start = int(indices.min())
    span = int(indices.max()) - start + 1
    bits = _generator(seed, stream, start * blocks, 0).random_raw(span * blocks * 4)
    # bits: [span * words] -> [span, words] -> [N, count]
    chosen = bits.reshape(span, blocks * 4)[indices - start, :count]
    return np.asarray((chosen >> np.uint64(11)) * 2.0**-53)


@lru_cache(maxsize=8)
def permutation(seed: int, stream: Stream, epoch: int, size: int) -> NDArray[np.int64]:
    """The numbers 0 to size - 1 in random order, another one for each epoch. Read-only.

    The last few are kept: two domains, and two epochs where a batch runs across their border.
    """
    order = _generator(seed, stream, 0, epoch).random_raw(size).argsort(kind="stable")
    order.flags.writeable = False
    return np.asarray(order)


def _generator(seed: int, stream: Stream, index: int, epoch: int) -> np.random.Philox:
    key = np.array([seed, stream], np.uint64)
    return np.random.Philox(key=key, counter=np.array([index, 0, 0, epoch], np.uint64))
