"""Counter-based random numbers, each of which can be computed directly, in any order.

Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), in numpy's
implementation. Only its raw bits are used: the algorithm fixes them, whereas numpy may change its
distributions.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """Independent sequences of one seed. The numbers must never change their meaning."""

    MRI_ORDER = 0
    CT_ORDER = 1
    PARTNER = 2
    MRI_VARIATION = 3
    CT_VARIATION = 4
    MRI_REPLAY = 5
    CT_REPLAY = 6
    MRI_SUBSTITUTE = 7
    CT_SUBSTITUTE = 8
    MRI_NOISE = 9
    MRI_INTENSITY = 10
    PAIRED = 11
    PAIRED_ORDER = 12
    COMPANION = 13
    DRAW_NOISE = 14


ROUNDS = 8
"""Rounds of the Feistel network; four suffice if the round function is pseudo-random."""


def uniforms(
    seed: int, stream: Stream, indices: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return `count` uniform numbers in [0, 1) for each index, [len(indices), count].

    One call to the generator covers the span from the smallest to the largest index, so indices
    should be close together, as those of one step are.

    Args:
        seed: Seed of the run, 0 or more.
        stream: Independent sequence to use.
        indices: [N], 0 or more, at least one.
        count: Numbers per index; those of an index depend on it.

    Examples:
        >>> alone = uniforms(7, Stream.PARTNER, np.array([1000]), count=2)
        >>> both = uniforms(7, Stream.PARTNER, np.array([999, 1000]), count=2)
        >>> np.array_equal(alone[0], both[1])
        True
    """
    blocks = -(-count // 4)  # one counter value gives four 64-bit words
    start = int(indices.min())
    span = int(indices.max()) - start + 1
    bits = _generator(seed, stream, start * blocks, 0).random_raw(span * blocks * 4)
    # bits: [span * words] -> [span, words] -> [N, count]
    chosen = bits.reshape(span, blocks * 4)[indices - start, :count]
    return np.asarray((chosen >> np.uint64(11)) * 2.0**-53)


def permute(
    seed: int, stream: Stream, epoch: int, size: int, positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the entries at some positions of a random permutation of the numbers 0 to size - 1.

    A Feistel network (Luby and Rackoff 1988) with Philox keys permutes the numbers below a power
    of four; results outside of `size` are permuted again until they lie inside (cycle walking,
    Black and Rogaway 2002). The cost per entry does not depend on `size`, and no table is kept,
    even for an epoch of a hundred million slices.

    Args:
        seed: Seed of the run.
        stream: Independent sequence to use.
        epoch: Each epoch has its own permutation.
        size: Number of entries.
        positions: [N], positions in [0, size).
    """
    half = np.uint64(max(2, (int(size - 1).bit_length() + 1) // 2))  # bits of either half
    keys = _generator(seed, stream, 0, epoch).random_raw(ROUNDS)
    values = _permuted(positions.astype(np.uint64), half, keys)
    while (outside := values >= size).any():
        values[outside] = _permuted(values[outside], half, keys)
    return np.asarray(values.astype(np.int64))


def permute_in_passes(
    seed: int, stream: Stream, size: int, indices: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the numbers at `indices` of endless passes over 0 to size - 1, each pass shuffled."""
    passes, positions = np.divmod(indices, size)
    values = np.empty_like(indices)
    for epoch in np.unique(passes):
        here = passes == epoch
        values[here] = permute(seed, stream, int(epoch), size, positions[here])
    return values


def raw_bytes(seed: int, stream: Stream, count: int) -> NDArray[np.uint8]:
    """Return the first `count` bytes of a stream."""
    words = _generator(seed, stream, 0, 0).random_raw(-(-count // 8))
    return np.asarray(words.astype("<u8", copy=False).view(np.uint8)[:count])


def _permuted(values: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> Any:
    """Permute numbers of 2 x `half` bits."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        # Finaliser of SplitMix64 (Steele, Lea and Flood 2014): each input bit affects every output
        # bit.
        mixed = right + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
    return left << half | right


def _generator(seed: int, stream: Stream, index: int, epoch: int) -> np.random.Philox:
    key = np.array([seed, stream], np.uint64)
    return np.random.Philox(key=key, counter=np.array([index, 0, 0, epoch], np.uint64))
