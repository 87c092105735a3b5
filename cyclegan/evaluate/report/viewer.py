"""The slice viewer of a report: every image of a volume as one strip of slices.

The script of the page shows one slice of each strip at a time.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cyclegan.evaluate.report.figures import body_box, columns_of
from cyclegan.evaluate.score_table import ShownVolume
from mrct.drawing.slices import apply_colours

MAX_SLICES_SHOWN = 64
"""Largest number of slices, to limit the size of the page; of taller volumes every second, third
... slice is shown."""
JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One image of a volume, its slices stacked vertically."""

    title: str
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewer:
    """The strips that one slider controls."""

    volume: str
    heights: tuple[float, ...]
    """Relative height of each slice that can be shown, lowest first."""
    aspect: float
    """Width of a slice over its height, in mm."""
    strips: tuple[Strip, ...]


def viewer_of(shown: ShownVolume) -> Viewer:
    """Return the axial slices that contain the body, cropped to it."""
    z, y, x = body_box(shown)
    every = -(-(z.stop - z.start) // MAX_SLICES_SHOWN)
    slices = range(z.start, z.stop, every)
    _, dy, dx = shown.spacing_mm
    strips = []
    for column in columns_of(shown):
        # strip: [slices x rows, columns, 3]
        strip = np.concatenate(
            [apply_colours(column.voxels[k, y, x], column.windowing) for k in slices]
        )
        file = io.BytesIO()
        Image.fromarray(strip).save(file, "JPEG", quality=JPEG_QUALITY)
        strips.append(Strip(title=column.title, jpeg=file.getvalue()))
    return Viewer(
        volume=shown.cycle.volume.name,
        heights=tuple(shown.cycle.volume.height[k] for k in slices),
        aspect=(x.stop - x.start) * dx / ((y.stop - y.start) * dy),
        strips=tuple(strips),
    )
