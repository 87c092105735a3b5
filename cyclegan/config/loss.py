"""The terms of the translators' loss: which there are, what they weigh, and when. Pure numbers."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from cyclegan.errors import require

Course = Literal["constant", "rise", "fall"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One term of the translators' loss."""

    enabled: bool = True
    weight: float = 1.0
    schedule: Course = "constant"

    @property
    def effective_weight(self) -> float:
        """What the term counts for; 0 where it is off."""
        return self.weight if self.enabled else 0.0

    def at(self, through: float) -> "Term":
        """The term with its weight at one point of its schedule, which ends at 1."""
        factors = {"constant": 1.0, "rise": through, "fall": 1 - through}
        return replace(self, weight=self.effective_weight * factors[self.schedule])


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Terms of the translators' loss. A term that is off, or weighs 0, is not computed.

    Images are in [-1, 1]. A schedule scales the weight: `constant`; `rise` from near 0 to all of
    it, or `fall` from nearly all to 0, in a straight line over `schedule_share` of the run.
    """

    schedule_share: float = 0.25
    """Share of the run over which weights rise or fall."""
    adversarial: Term = Term()
    """LSGAN, each direction."""
    cycle: Term = Term(weight=10.0)
    """Mean absolute error after MRI -> CT -> MRI and CT -> MRI -> CT."""
    identity: Term = Term(weight=5.0)
    """Mean absolute error of a CT sent through to_ct, and an MRI through to_mri. The weight is
    absolute, not a share of the cycle's."""
    ssim: Term = Term()
    """1 - SSIM of the same cycles."""
    gradient: Term = Term(enabled=False)
    """Difference of the same cycles' absolute gradients: edges keep their sharpness."""
    shape: Term = Term(enabled=False)
    """Body of the input against where the output is no air. Cavities inside the body count too, so
    a large weight fills them."""
    population: Term = Term(enabled=False)
    """Distribution of the output's values, layer by layer below the body's surface, against that of
    the partner from the other domain: bone painted on the scalp has to leave."""
    structure: Term = Term(enabled=False)
    """Edges of the output against those of the input, whatever their sign (MIND)."""
    depth: Term = Term(enabled=False, weight=10.0, schedule="fall")
    """Squared distance from the partner's mean value at the same depth below the body's surface: a
    warm start from what is usual there, so it falls."""

    def __post_init__(self) -> None:
        for name, term in self.terms.items():
            require(
                term.weight >= 0,
                f"loss.{name}.weight is {term.weight}; a weight must be 0 or more.",
            )
        require(0 < self.schedule_share <= 1, "loss.schedule_share must lie in (0, 1].")

    @property
    def terms(self) -> dict[str, Term]:
        """Every term by its name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.type is Term}

    def mapped(self, change: Callable[[Term], Term]) -> "LossConfig":
        """All terms changed in the same way."""
        changed: dict[str, Any] = {name: change(term) for name, term in self.terms.items()}
        return replace(self, **changed)

    def at(self, step: int, total_steps: int) -> "LossConfig":
        """The terms with their weights at one step, counted from 0: a pure function of it."""
        through = min(1.0, (step + 1) / (self.schedule_share * total_steps))
        return self.mapped(lambda term: term.at(through))
