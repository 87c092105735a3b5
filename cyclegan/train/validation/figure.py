"""Validation figures: one slice of both cycles with difference maps, and one MRI in three planes.

Display windows are fixed and shown by colour bars, so that the figures of two steps, or of two
runs, are comparable. Rows and columns are as in memory, which is the radiological view.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.inference.cycle import UNIT_WINDOW, CycleResult
from data_prep.store.stored_volume import StoredVolume
from mrct.drawing.slices import (
    CT_BONE,
    CT_DIFFERENCE,
    ImagePanel,
    Windowing,
    grid,
    in_twos,
    pixels,
)
from mrct.imaging.body_mask import bounding_box
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import denormalise

Row = list[ImagePanel]
Pictures = dict[str, NDArray[np.uint8]]
"""Images [rows, columns, 3] by name."""
SHOWN_HEIGHT = 0.6
"""Height of the displayed slice: above the orbits, through the ventricles."""
TILE_INCHES = 2.2
PLANE_HEIGHT = 250
"""Height in pixels of the images of a plane."""

CT = CT_BONE._replace(unit="HU, bone window")
CHANGE_HU = CT_DIFFERENCE._replace(unit="difference in HU")
MRI = Windowing("gray", *UNIT_WINDOW, "MRI, of its window")
CHANGE_MRI = Windowing("RdBu_r", -0.5, 0.5, "difference, of the MRI's window")


def tiles_of(
    cycle: CycleResult, pixel_mm: tuple[float, float], real: NDArray[Any] | None = None
) -> list[ImagePanel]:
    """Return the images of one cycle, from left to right.

    Args:
        cycle: A volume, its translation and the translation back.
        pixel_mm: Spacing along (y, x).
        real: Real CT of the same subject in HU, [z, y, x]; adds its difference to the synthetic
            CT inside the body.
    """
    z = shown_slice(cycle.volume)
    body = cycle.body[z]
    assert cycle.returned is not None, "validation goes both ways"

    def tile(title: str, values: NDArray[Any], windowing: Windowing) -> ImagePanel:
        return ImagePanel(title=title, values=values, windowing=windowing, pixel_mm=pixel_mm)

    def change(after: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        return np.where(body, after - before, np.nan)

    original, returned, translated = (
        images[z] for images in (cycle.original, cycle.returned, cycle.translated)
    )
    if cycle.volume.modality == "ct":
        ct, back = (denormalise(images, WINDOW_HU) for images in (original, returned))
        return [
            tile("CT", ct, CT),
            tile("synthetic MRI", translated, MRI),
            tile("returned CT", back, CT),
            tile("returned - CT", change(back, ct), CHANGE_HU),
        ]
    mri, back = (0.5 * (images + 1) for images in (original, returned))
    tiles = [tile("MRI", mri, MRI), tile("synthetic CT", translated, CT)]
    if real is not None:
        tiles += [
            tile("real CT", real[z], CT),
            tile("synthetic - real", change(translated, real[z].astype(np.float32)), CHANGE_HU),
        ]
    return [
        *tiles,
        tile("returned MRI", back, MRI),
        tile("returned - MRI", change(back, mri), CHANGE_MRI),
    ]


def shown_slice(volume: StoredVolume) -> int:
    """Return the index of the slice of a volume that is nearest to the shown height."""
    return int(np.abs(np.array(volume.height) - SHOWN_HEIGHT).argmin())


def planes_of(
    cycle: CycleResult, spacing_mm: tuple[float, float, float], real: NDArray[Any] | None = None
) -> dict[str, list[ImagePanel]]:
    """Return an MRI and its synthetic CT by plane, through the middle of the body, z upwards; with
    the `real` CT [z, y, x] and the difference to it, if there is one."""
    z = shown_slice(cycle.volume)
    box = bounding_box(cycle.body)
    _, y, x = [(axis.start + axis.stop) // 2 for axis in box] if box else (0, 0, 0)
    dz, dy, dx = spacing_mm
    shown = [
        ("MRI", 0.5 * (cycle.original + 1), MRI),
        ("synthetic CT", cycle.translated, CT),
    ]
    if real is not None:
        off = np.where(cycle.body, cycle.translated - real.astype(np.float32), np.nan)
        shown += [("real CT", real, CT), ("synthetic - real", off, CHANGE_HU)]

    def row(cut: Callable[[NDArray[Any]], NDArray[Any]], pixel_mm: tuple[float, float]) -> Row:
        return [
            ImagePanel(title=title, values=cut(values), windowing=windowing, pixel_mm=pixel_mm)
            for title, values, windowing in shown
        ]

    return {
        "axial": row(lambda values: values[z], (dy, dx)),
        "coronal": row(lambda values: values[::-1, y], (dz, dx)),
        "sagittal": row(lambda values: values[::-1, :, x], (dz, dy)),
    }


def plane_pictures(planes: Mapping[str, Row]) -> Pictures:
    """Draw a picture for each plane."""
    return {name: in_twos(row, height=PLANE_HEIGHT) for name, row in planes.items()}


def validation_figure(rows: list[list[ImagePanel]]) -> NDArray[np.uint8]:
    """Draw one row of images per volume above the colour bars, as pixels [rows, columns, 3]."""
    bars = (CT, CHANGE_HU, MRI, CHANGE_MRI)
    return pixels(grid([("", tiles) for tiles in rows], bars, tile_inches=TILE_INCHES))
