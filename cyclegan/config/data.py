"""Data section of the configuration: selection, input channels and augmentation of slices."""

from dataclasses import dataclass
from typing import Literal

from cyclegan.errors import require
from mrct.storage.names import is_plain

NUM_CONDITIONS = 2
"""Condition channels: depth below the body's surface and height, see
`nets.input_channels`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Selection, input channels and augmentation of slices."""

    store: str = ""
    """Zarr store written by `data_prep convert`. Empty: the environment variable
    CYCLEGAN_STORE."""
    mri_contrast: Literal["plain", "inverted"] = "plain"
    """MRI intensities as the networks see them. `inverted` maps a value x to 0.05 - 0.45 x inside
    the body and to -1 outside, so that bright fat starts as soft tissue and dark bone as bone."""
    partner: Literal["random", "position"] = "position"
    """CT slice paired with an MRI slice: any slice, or one at a similar height of the body."""
    neighbours: int = 0
    """Neighbouring slices above and below each slice, as channels of the generators' input (2.5D),
    0 to 8."""
    conditions: bool = False
    """Add two input channels: the depth below the body's surface in the slice, and the slice's
    height in the body."""
    min_body_fraction: float = 0.05
    """Smallest share of body in a slice; slices below it are left out of training."""
    min_deviation: float = 0.01
    """Smallest standard deviation of a slice in network units (0.01 is 20 HU in CT); slices below
    it are left out of training, because InstanceNorm would amplify their noise."""
    allow_paired_train: bool = False
    """Use both scans of a subject in training. By default a subject with both scans contributes one
    of them, so that training is unpaired."""
    use_pairs: bool = False
    """Learn from the true pairs of the train split (`loss.paired`): subjects whose MRI and CT are
    linked. Both of their scans are used in training."""
    paired_share: float = 0.5
    """Share of the samples whose MRI slice is one of a true pair, with `use_pairs`."""
    min_pair_overlap: float = 0.9
    """Smallest Dice of the outlines of MRI and CT with which a pair is used: below it they are not
    aligned well enough to be learned voxel by voxel."""
    companions: str = ""
    """Key of the warped CTs in the store that MRI slices are shown with (`loss.anchor`): the name
    of their folder in STORE/companions. Empty: none."""
    flip: bool = True
    """Mirror half of the slices left to right."""
    rotate_degrees: float = 15.0
    """Largest rotation in either direction, in degrees."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Range of the scale factor, smallest to largest."""
    translate_fraction: float = 0.04
    """Largest shift in either direction, as a share of the slice's side."""
    contrast: float = 0.1
    """Largest relative change of the MRI's gain. CT intensities are never changed: HU are
    absolute."""
    gamma: tuple[float, float] = (1.0, 1.0)
    """Range of the MRI's gamma: the power of its intensities, as shares of the window."""
    bias_field: float = 0.0
    """Largest coefficient, positive or negative, of the MRI's bias field: the exponential of
    Legendre polynomials of degree 1 to 3 in rows and columns. At 0.1 a slice's intensities vary by
    about 7 %."""
    blur_mm: float = 0.0
    """Largest standard deviation of the Gaussian that blurs the MRI in its slices, in mm, as a
    lower resolution would."""
    noise: float = 0.0
    """Largest standard deviation of the noise added to the MRI, in network units."""
    noise_kind: Literal["gaussian", "rician"] = "gaussian"
    """Noise added to the MRI as it is, or to the two parts of a complex signal whose magnitude is
    the MRI, which lifts the air."""
    intensity_share: float = 1.0
    """Share of the MRI slices that are changed by gamma, by the bias field, by blur, and by noise,
    independently of each other."""
    on_corrupt: Literal["stop", "substitute"] = "stop"
    """Response to a damaged slice: stop the run, or `substitute` a slice of similar height, always
    the same one, and record it in substituted.jsonl of the run."""
    max_corrupt: float = 0.01
    """Largest share of damaged slices in a domain with `substitute`; above it the run stops."""
    dtype: Literal["float32", "float16"] = "float32"
    """Data type of the images. float16 rounds to 1 HU near the ends of the window."""
    stall_s: float = 20.0
    """Seconds without progress after which the batch loader is restarted, six times as many before
    the first batch; the second stall in a row ends the run."""
    cache_gib: float = 1.0
    """Cache for decoded slices in GiB, per worker."""
    threads: int = 1
    """Threads of the DALI pipeline, per worker."""

    def __post_init__(self) -> None:
        require(0 <= self.min_body_fraction < 1, "data.min_body_fraction must lie in [0, 1).")
        require(0 <= self.rotate_degrees <= 180, "data.rotate_degrees must lie in [0, 180].")
        require(
            0 < self.zoom[0] <= self.zoom[1],
            "data.zoom must be two positive factors, the smaller one first.",
        )
        require(0 <= self.translate_fraction < 0.5, "data.translate_fraction must lie in [0, 0.5).")
        require(0 <= self.contrast < 1, "data.contrast must lie in [0, 1).")
        require(0 <= self.neighbours <= 8, "data.neighbours must lie in [0, 8].")
        require(0 < self.paired_share <= 1, "data.paired_share must lie in (0, 1].")
        require(0 <= self.min_pair_overlap <= 1, "data.min_pair_overlap must lie in [0, 1].")
        require(
            not self.companions or is_plain(self.companions, "[0-9a-f]{16}"),
            f"data.companions is {self.companions!r}; it must be the name of a folder in "
            "STORE/companions, 16 hexadecimal digits.",
        )
        require(0 <= self.min_deviation < 1, "data.min_deviation must lie in [0, 1).")
        require(
            0 < self.gamma[0] <= self.gamma[1],
            "data.gamma must be two positive powers, the smaller one first.",
        )
        require(0 <= self.bias_field < 1, "data.bias_field must lie in [0, 1).")
        require(0 <= self.blur_mm <= 10, "data.blur_mm must lie in [0, 10].")
        require(0 <= self.noise < 1, "data.noise must lie in [0, 1).")
        require(0 <= self.intensity_share <= 1, "data.intensity_share must lie in [0, 1].")
        require(0 <= self.max_corrupt <= 1, "data.max_corrupt must lie in [0, 1].")
        require(self.stall_s >= 1, "data.stall_s must be at least 1.")
        require(self.threads >= 1, "data.threads must be at least 1.")
        require(self.cache_gib >= 0, "data.cache_gib must be 0 or more.")

    @property
    def channels(self) -> int:
        """Channels of an image: the slice itself in the middle of its neighbours."""
        return 2 * self.neighbours + 1

    @property
    def has_companions(self) -> bool:
        """Whether MRI slices are shown with CTs on their grid."""
        return self.use_pairs or bool(self.companions)

    @property
    def changes_intensity(self) -> bool:
        """Whether MRI slices are changed by more than a gain."""
        ranges = self.bias_field, self.blur_mm, self.noise
        return self.intensity_share > 0 and (any(ranges) or self.gamma != (1.0, 1.0))

    @property
    def num_conditions(self) -> int:
        """Condition channels of a network's input, beside those of the image."""
        return NUM_CONDITIONS if self.conditions else 0
