"""The data section of a run's configuration: which slices are seen, and how they are varied."""

from dataclasses import dataclass
from typing import Literal

from cyclegan.errors import require

NUM_CONDITIONS = 2
"""Depth below the body's surface, and relative height: see `nets.input_channels`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which slices are seen, and how they are varied."""

    store: str = ""
    """Zarr store written by `data_prep convert`; empty: the environment's CYCLEGAN_STORE."""
    mri_contrast: Literal["plain", "inverted"] = "plain"
    """`inverted` shows the networks 0.05 - 0.45 x of the MRI inside the body and -1 outside: bright
    fat starts out as soft tissue and dark bone as bone."""
    partner: Literal["random", "position"] = "position"
    """The CT slice beside an MRI slice: any, or one at a similar relative height of the head."""
    neighbours: int = 0
    """Slices shown above and below each one, as channels of the generators' input (2.5D)."""
    conditions: bool = False
    """Show the networks two more channels: the depth below the body's surface in the slice, and the
    slice's relative height in the body."""
    min_body_fraction: float = 0.05
    """Slices with a smaller share of body are left out of training."""
    min_deviation: float = 0.01
    """Slices whose values deviate less are left out too, in network units (0.01 is 20 HU): an
    InstanceNorm would blow up their noise."""
    allow_paired_train: bool = False
    """Let a subject with both scans serve both domains; else it keeps one: unpaired training."""
    flip: bool = True
    """Mirror half of the slices left to right."""
    rotate_degrees: float = 15.0
    """Rotate by up to this angle, either way."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Scale by a factor from this range."""
    translate_fraction: float = 0.04
    """Shift by up to this share of the slice's side, either way."""
    contrast: float = 0.1
    """Vary the MRI's gain by up to this share. CT is never varied: HU must keep their meaning."""
    noise: float = 0.0
    """Add normal noise of up to this standard deviation to the MRI, in network units."""
    on_corrupt: Literal["stop", "substitute"] = "stop"
    """What a damaged slice leads to. `substitute` takes another of a similar height, always the
    same one, and keeps a line about it in the run's substituted.jsonl."""
    max_corrupt: float = 0.01
    """`substitute` stops too once more than this share of a domain's slices is damaged."""
    dtype: Literal["float32", "float16"] = "float32"
    """Numbers of the images. float16 rounds HU to 1 near the ends of the window."""
    stall_s: float = 20.0
    """A loader that shows no sign of life for so long is started again, once, then fails."""
    cache_gib: float = 1.0
    """Memory for decoded slices, per worker."""
    threads: int = 1
    """Threads of the DALI pipeline, per worker."""

    def __post_init__(self) -> None:
        require(0 <= self.min_body_fraction < 1, "data.min_body_fraction must lie in [0, 1).")
        require(0 <= self.rotate_degrees <= 180, "data.rotate_degrees must lie in [0, 180].")
        require(
            0 < self.zoom[0] <= self.zoom[1], "data.zoom must be two positive factors, low to high."
        )
        require(0 <= self.translate_fraction < 0.5, "data.translate_fraction must lie in [0, 0.5).")
        require(0 <= self.contrast < 1, "data.contrast must lie in [0, 1).")
        require(0 <= self.neighbours <= 8, "data.neighbours must lie in [0, 8].")
        require(0 <= self.min_deviation < 1, "data.min_deviation must lie in [0, 1).")
        require(0 <= self.noise < 1, "data.noise must lie in [0, 1).")
        require(0 <= self.max_corrupt <= 1, "data.max_corrupt must lie in [0, 1].")
        require(self.stall_s >= 1, "data.stall_s must be at least 1.")
        require(self.threads >= 1, "data.threads must be at least 1.")
        require(self.cache_gib >= 0, "data.cache_gib must be 0 or more.")

    @property
    def channels(self) -> int:
        """Of an image: the slice itself in the middle of its neighbours."""
        return 2 * self.neighbours + 1

    @property
    def num_conditions(self) -> int:
        """Channels that a network sees beside those of the image."""
        return NUM_CONDITIONS if self.conditions else 0
