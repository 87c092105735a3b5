"""The slice viewer of a report: each image of a volume in 8 bits, for the script of the page.

The script, `viewer.js`, cuts the images in three planes and applies windows to the CTs. Its CTs are
for looking: in steps of 3 HU in soft tissue (`FINE_HU`), of 20 to 43 elsewhere.
"""

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from markupsafe import Markup
from numpy import ndarray
from PIL import Image

from cyclegan.evaluate.report.figures import NORMALISED_MRI, body_box
from cyclegan.evaluate.score_table import ShownVolume
from mrct.drawing.slices import Windowing, apply_colours
from mrct.imaging.hounsfield import (
    BONE_WINDOW_HU,
    BRAIN_WINDOW_HU,
    DIFFERENCE_WINDOW_HU,
    FINE_HU,
    SOFT_TISSUE_WINDOW_HU,
    WINDOW_HU,
)

MAX_SLICES_SHOWN = 64
"""Largest number of slices, to limit the size of the page; of taller volumes every second, third
... slice is shown."""
CODES = np.arange(256)
FINE_CODES = (40, 190)
"""Codes at the ends of `FINE_HU`."""
HU_OF_CODE = np.interp(
    CODES, (CODES[0], *FINE_CODES, CODES[-1]), (WINDOW_HU[0], *FINE_HU, WINDOW_HU[1])
)
"""HU of each 8-bit code."""
WINDOWS_HU = {
    "soft tissue": SOFT_TISSUE_WINDOW_HU,
    "bone": BONE_WINDOW_HU,
    "brain": BRAIN_WINDOW_HU,
    "everything": WINDOW_HU,
}
DIFFERENCE = Windowing("berlin", *DIFFERENCE_WINDOW_HU, "HU")
"""Black at 0, so that what was not compared looks like no difference and not like an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewer:
    """The images of a volume, which one set of controls cuts."""

    volume: str
    titles: tuple[str, ...]
    data: Markup
    """JSON for the script of the page."""


def viewer_of(shown: ShownVolume) -> Viewer:
    """Return the images of a volume, cropped to its body."""
    z, y, x = body_box(shown)
    every = -(-(z.stop - z.start) // MAX_SLICES_SHOWN)
    box = (slice(z.start, z.stop, every), y, x)
    dz, dy, dx = shown.spacing_mm
    cycle, real = shown.cycle, shown.real
    images = [
        normalised("MRI", cycle.original[box]),
        hounsfield("synthetic CT", cycle.translated[box]),
    ]
    if real is not None and shown.compared is not None:
        errors = np.where(shown.compared, cycle.translated - real, 0)[box]
        images += [
            hounsfield("real CT", real[box]),
            coloured("synthetic - real", errors, DIFFERENCE),
        ]
    elif cycle.returned is not None:
        images.append(normalised("returned MRI", cycle.returned[box]))
    text = json.dumps(
        {
            "volume": cycle.volume.name,
            "shape": cycle.original[box].shape,
            "spacing_mm": (dz * every, dy, dx),
            "heights": [round(height, 3) for height in cycle.volume.height[box[0]]],
            "across": across_of(len(range(z.start, z.stop, every))),
            "windows": WINDOWS_HU,
            "images": images,
        }
    )
    return Viewer(
        volume=cycle.volume.name,
        titles=tuple(image["title"] for image in images),
        # No text in it can end the element that holds it.
        data=Markup(text.replace("<", "\\u003c")),
    )


def hounsfield(title: str, voxels: Shaped[ndarray, "Z Y X"]) -> dict[str, Any]:
    """Return a CT in HU; the page applies the window."""
    codes = np.interp(voxels, HU_OF_CODE, CODES).round().astype(np.uint8)
    return {"title": title, "slices": mosaic(codes), "hu": HU_OF_CODE.round(1).tolist()}


def normalised(title: str, voxels: Float[ndarray, "Z Y X"]) -> dict[str, Any]:
    """Return an MRI in [-1, 1]."""
    return coloured(title, voxels, NORMALISED_MRI)


def coloured(title: str, voxels: Shaped[ndarray, "Z Y X"], windowing: Windowing) -> dict[str, Any]:
    """Return an image in a fixed window, with the colour of each code."""
    low, high = windowing.low, windowing.high
    codes = np.interp(voxels, (low, high), (0, 255)).round().astype(np.uint8)
    colours = apply_colours(np.linspace(low, high, 256)[None], windowing)[0]
    return {"title": title, "slices": mosaic(codes), "colours": colours.tolist()}


def mosaic(codes: UInt8[ndarray, "Z Y X"]) -> str:
    """Return all slices side by side, in rows of about as many as there are rows, as a PNG's URL.

    Browsers limit the sides of an image, so one long strip would be too long.
    """
    depth, height, width = codes.shape
    across = across_of(depth)
    down = -(-depth // across)
    padded = np.zeros((down * across, height, width), np.uint8)
    padded[:depth] = codes
    tiles = padded.reshape(down, across, height, width).swapaxes(1, 2)
    file = io.BytesIO()
    # Without loss: a JPEG's errors of a few codes are 100 HU and more in bone.
    Image.fromarray(tiles.reshape(down * height, across * width)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def across_of(depth: int) -> int:
    """Return how many slices are in a row of the mosaic."""
    return int(np.ceil(np.sqrt(depth)))
