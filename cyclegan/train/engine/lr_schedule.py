"""Learning-rate schedules as pure functions of the step."""

import math
from typing import Literal


def rate_factor(
    step: int,
    total_steps: int,
    schedule: Literal["constant", "linear", "cosine"],
    warmup_steps: int = 0,
    decay_start: float = 0.5,
) -> float:
    """Return the factor of the learning rate at a step, in [0, 1].

    `linear` is Zhu 2017's: constant up to the share `decay_start` of the run (there half), then
    linear to 0. `cosine` is half a period over the whole run (Loshchilov 2017, eq. 5, no restart).

    Args:
        step: Optimizer step, counted from 0.
        total_steps: Optimizer steps of the whole run.
        schedule: Decay over the run.
        warmup_steps: Steps of a linear rise at the start.
        decay_start: Share of the run at which `linear` starts to decay, in [0, 1).
    """
    warmup = min(1.0, (step + 1) / (warmup_steps + 1))
    done = min(1.0, step / total_steps)
    match schedule:
        case "constant":
            decay = 1.0
        case "linear":
            decay = min(1.0, (1 - done) / (1 - decay_start))
        case "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * done))
    return warmup * decay
