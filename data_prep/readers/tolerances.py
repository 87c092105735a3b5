"""Settings that accept volumes which are refused by default."""

from dataclasses import dataclass

from mrct.errors import UsageError

MAX_GAP = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Leniency:
    """Faults that the user accepts, although they are refused by default."""

    resample_tilt: bool = False
    """Straighten a DICOM stack with gantry tilt (slices not perpendicular to the stack)."""
    resample_irregular: bool = False
    """Interpolate a DICOM stack of uneven spacing to its median gap."""
    max_gap: float = MAX_GAP
    """Largest gap that --resample-irregular fills, in median gaps: 2 invents one slice in a row."""
    assume_hu: bool = False
    """Take the values of a DICOM CT without any rescale as HU."""
    assume_affine: bool = False
    """Assume the default axes of the format for a file without orientation: left, front, up for
    NIfTI with both codes 0; left, back, up for .mha and .nrrd."""

    def __post_init__(self) -> None:
        if not self.max_gap >= 1:
            raise UsageError(
                f"--max-gap is {self.max_gap}: gaps are at least as wide as the median one. Give "
                f"{MAX_GAP:g} to invent one slice in a row, or more."
            )


STRICT = Leniency()
"""Nothing is accepted that is refused by default."""
