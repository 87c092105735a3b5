"""Kernels that the host launches in a step of `default`; others are taken to have as many."""

from cyclegan.config.config import Config

DISPATCHED_OPERATORS = 85
"""Operators outside of compiled graphs, counted as tests/cyclegan/train/engine/test_launches.py
does, guided or not; not in every tenth step, which measures too."""
KERNELS = {
    "guided": {"channels_last": 570 + 52 + 25, "contiguous": 340 + 45 + 23},
    "unguided": {"channels_last": 379 + 52 + 25, "contiguous": 221 + 45 + 23},
}
"""Triton kernels that Inductor makes for compute capability 9.0, there and back, by memory layout:
of both generators, of the discriminators that learn, and of those that judge
(tests/gpu_dry/test_kernels.py)."""
CONVOLUTIONS = {"guided": 204 + 20 + 20, "unguided": 192 + 20 + 20}
"""Convolutions in the same graphs, which stay calls of cuDNN."""
EAGER_OPERATORS = {"guided": 3308, "unguided": 3084}
"""Operators of a step in bf16 without the compiler, views left out."""


def launches_per_part(config: Config) -> int:
    """Return the launches of a step on a GPU, or of each of its parts.

    With `blocks` they lie between the compiled and the eager count, and the latter is taken.
    """
    kind = "unguided" if config.generator.guide == "none" else "guided"
    if config.train.compile != "all":
        return EAGER_OPERATORS[kind]
    layout = "contiguous" if config.train.channels_last == "no" else "channels_last"
    return DISPATCHED_OPERATORS + KERNELS[kind][layout] + CONVOLUTIONS[kind]
