"""Loss section of the configuration: terms of the generators' loss, their weights and schedules."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from cyclegan.errors import require

TermSchedule = Literal["constant", "rise", "fall"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One term of the generators' loss."""

    enabled: bool = True
    """Whether the term is computed."""
    weight: float = 1.0
    """Factor of the term in the total loss."""
    schedule: TermSchedule = "constant"
    """Change of the weight over the run."""

    @property
    def effective_weight(self) -> float:
        """Weight of the term in the total loss; 0 if it is disabled."""
        return self.weight if self.enabled else 0.0

    def at(self, through: float) -> "Term":
        """Return the term with its weight at one point of its schedule.

        Args:
            through: Completed share of the schedule, in [0, 1].

        Examples:
            >>> Term(weight=10.0, schedule="fall").at(0.25).weight
            7.5
        """
        factors = {"constant": 1.0, "rise": through, "fall": 1 - through}
        return replace(self, weight=self.effective_weight * factors[self.schedule])


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Terms of the generators' loss. A disabled term, or one of weight 0, is not computed.

    Images are in [-1, 1]. A schedule scales the weight: `constant`; `rise`, linearly from near 0 to
    the full weight; or `fall`, linearly from nearly the full weight to 0. Both take
    `schedule_share` of the run.
    """

    schedule_share: float = 0.25
    """Share of the run over which weights rise or fall."""
    adversarial: Term = Term()
    """LSGAN loss of both generators."""
    cycle: Term = Term(weight=10.0)
    """Cycle consistency: mean absolute error after MRI -> CT -> MRI and CT -> MRI -> CT."""
    identity: Term = Term(weight=5.0)
    """Identity: mean absolute error of a CT passed through to_ct and of an MRI passed through
    to_mri. The weight is absolute, not relative to that of the cycle."""
    ssim: Term = Term()
    """1 - SSIM of the same cycles."""
    gradient: Term = Term(enabled=False)
    """Difference of absolute image gradients in the same cycles; it keeps edges sharp."""
    shape: Term = Term(enabled=False)
    """Mismatch between the input's body mask and the output's non-air region. Air cavities inside
    the body count as mismatch, so a large weight fills them."""
    population: Term = Term(enabled=False)
    """Distance between the value distributions of the output and of its partner from the other
    domain, per layer below the body's surface; it penalises bone on the scalp."""
    structure: Term = Term(enabled=False)
    """Mismatch between the edges of output and input, regardless of their sign (MIND)."""
    depth: Term = Term(enabled=False, weight=10.0, schedule="fall")
    """Squared distance from the partner's mean value at the same depth below the body's surface: a
    warm start from typical values, so its weight falls by default."""

    paired: Term = Term(enabled=False, weight=10.0)
    """Mean absolute error of a true pair (`data.use_pairs`), in both directions, where both scans
    saw; 0 for all other MRI slices."""
    anchor: Term = Term(enabled=False, weight=10.0)
    """Mean absolute error of to_mri from a warped CT (`data.companions`) to the MRI that it was
    warped onto, by how far each voxel is trusted."""
    draw_noise: float = 0.0
    """Noise in the MRI that to_mri draws from a CT, before to_ct translates it back: the standard
    deviation of white noise and again of noise in patches of 4 pixels, in units of what an MRI
    value varies by at the same HU (0.08 in the root of its share of the window)."""
    draw_gradient: bool = True
    """Whether the cycle CT -> MRI -> CT also trains to_mri, or only to_ct."""

    def __post_init__(self) -> None:
        require(0 <= self.draw_noise <= 10, "loss.draw_noise must lie in [0, 10].")
        for name, term in self.terms.items():
            require(
                term.weight >= 0,
                f"loss.{name}.weight is {term.weight}; a weight must be 0 or more.",
            )
        require(0 < self.schedule_share <= 1, "loss.schedule_share must lie in (0, 1].")

    @property
    def terms(self) -> dict[str, Term]:
        """All terms by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.type is Term}

    @property
    def effective_weights(self) -> dict[str, float]:
        """Weights by name, without those of 0."""
        return {
            name: term.effective_weight
            for name, term in self.terms.items()
            if term.effective_weight
        }

    def mapped(self, change: Callable[[Term], Term]) -> "LossConfig":
        """Return the configuration with the same change applied to all terms."""
        changed: dict[str, Any] = {name: change(term) for name, term in self.terms.items()}
        return replace(self, **changed)

    def at(self, step: int, total_steps: int) -> "LossConfig":
        """Return the configuration with the weights of one step; a pure function of the step.

        Args:
            step: Optimizer step, counted from 0.
            total_steps: Optimizer steps of the whole run.
        """
        through = min(1.0, (step + 1) / (self.schedule_share * total_steps))
        return self.mapped(lambda term: term.at(through))
