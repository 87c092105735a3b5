"""The interpolation methods of command lines and of `geometry`."""

from typing import Literal

Interpolation = Literal["linear", "cubic"]
"""`cubic` is a spline of order 3."""
