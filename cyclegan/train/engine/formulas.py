"""Functions of a step beside the networks, which `compile.py` may compile."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from cyclegan.nets.input_channels import PixelSize, with_conditions
from cyclegan.train.engine.diagnostics import image_statistics
from cyclegan.train.engine.objective import Terms, discriminator_terms, generator_terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulas:
    """The functions themselves, or the same ones compiled."""

    with_conditions: Callable[[Tensor, Tensor, Tensor, PixelSize], Tensor] = with_conditions
    generator_terms: Callable[..., Terms] = generator_terms
    discriminator_terms: Callable[[Tensor, Tensor], Terms] = discriminator_terms
    image_statistics: Callable[..., Terms] = image_statistics

    def mapped(self, change: Callable[..., Any]) -> "Formulas":
        """Return the functions with the same change applied to all of them."""
        return Formulas(**{each.name: change(getattr(self, each.name)) for each in fields(self)})
