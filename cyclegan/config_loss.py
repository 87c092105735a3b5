"""The terms of the translators' loss: which there are, what they weigh, and when. Pure numbers."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from cyclegan.errors import require

Term = Literal[
    "adversarial",
    "cycle",
    "identity",
    "ssim",
    "gradient",
    "shape",
    "population",
    "structure",
    "depth",
]
TERMS: tuple[Term, ...] = get_args(Term)
Course = Literal["constant", "rise", "fall"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Terms of the translators' loss. A term that is off, or weighs 0, is not computed.

    Images are in [-1, 1]. A schedule scales the weight: `constant`; `rise` from near 0 to all of
    it, or `fall` from nearly all to 0, in a straight line over `schedule_share` of the run.
    """

    adversarial: bool = True
    """LSGAN, each direction."""
    adversarial_weight: float = 1.0
    adversarial_schedule: Course = "constant"
    cycle: bool = True
    """Mean absolute error after MRI -> CT -> MRI and CT -> MRI -> CT."""
    cycle_weight: float = 10.0
    cycle_schedule: Course = "constant"
    identity: bool = True
    """Mean absolute error of a CT sent through to_ct, and an MRI through to_mri."""
    identity_weight: float = 5.0
    """Absolute, not a share of the cycle's weight."""
    identity_schedule: Course = "constant"
    ssim: bool = True
    """1 - SSIM of the same cycles."""
    ssim_weight: float = 1.0
    ssim_schedule: Course = "constant"
    gradient: bool = False
    """Difference of the same cycles' absolute gradients: edges keep their sharpness."""
    gradient_weight: float = 1.0
    gradient_schedule: Course = "constant"
    shape: bool = False
    """Body of the input against where the output is no air. Cavities inside the body count too, so
    a large weight fills them."""
    shape_weight: float = 1.0
    shape_schedule: Course = "constant"
    population: bool = False
    """Distribution of the output's values, layer by layer below the body's surface, against that of
    the partner from the other domain: bone painted on the scalp has to leave."""
    population_weight: float = 1.0
    population_schedule: Course = "constant"
    structure: bool = False
    """Edges of the output against those of the input, whatever their sign (MIND)."""
    structure_weight: float = 1.0
    structure_schedule: Course = "constant"
    depth: bool = False
    """Squared distance from the partner's mean value at the same depth below the body's surface: a
    warm start from what is usual there, so it falls."""
    depth_weight: float = 10.0
    depth_schedule: Course = "fall"
    schedule_share: float = 0.25
    """Share of the run over which weights rise or fall."""

    def __post_init__(self) -> None:
        for term in TERMS:
            weight = getattr(self, f"{term}_weight")
            require(weight >= 0, f"loss.{term}_weight is {weight}; a weight must be 0 or more.")
        require(0 < self.schedule_share <= 1, "loss.schedule_share must lie in (0, 1].")

    def weight(self, term: Term) -> float:
        """What a term counts for; 0 where it is off."""
        weight: float = getattr(self, f"{term}_weight")
        return weight if getattr(self, term) else 0.0

    def at(self, step: int, total_steps: int) -> "LossConfig":
        """The terms with their weights at one step, counted from 0: a pure function of it."""
        through = min(1.0, (step + 1) / (self.schedule_share * total_steps))
        factors = {"constant": 1.0, "rise": through, "fall": 1 - through}
        weights: dict[str, Any] = {
            f"{term}_weight": self.weight(term) * factors[getattr(self, f"{term}_schedule")]
            for term in TERMS
        }
        return replace(self, **weights)
