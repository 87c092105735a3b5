"""What a user may let pass of a volume file that is refused by default."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Leniency:
    """What a user lets pass that is refused by default."""

    resample_tilt: bool = False
    """Straighten a DICOM stack whose slices are tilted against their normal (gantry tilt)."""
    resample_irregular: bool = False
    """Interpolate a DICOM stack of uneven spacing to its median gap."""
    assume_hu: bool = False
    """Take a DICOM CT without any rescale as HU."""
    assume_affine: bool = False
    """Take a file that does not say where its axes point as its format's default: NIfTI with both
    codes 0 goes left, front, up; .mha and .nrrd go left, back, up."""
