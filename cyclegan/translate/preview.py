"""Draw one result: source, synthetic volume and its uncertainty in four slices.

The slices are upright on the model's grid, with the patient's right at the left. The image contains
no patient text.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.preprocess.preprocess import PreprocessedVolume
from mrct.drawing.slices import CT_BONE, ImagePanel, Windowing, png, sheet
from mrct.imaging.body_mask import bounding_box
from mrct.imaging.modality import Modality
from mrct.storage.atomic import write_atomic

HEIGHTS = (0.45, 0.7)
"""Where the axial slices lie: 0 is the lowest slice of the body in view, 1 its highest."""


def save_preview(
    path: Path,
    name: str,
    shown: PreprocessedVolume,
    values: NDArray[np.float32],
    target: Modality,
    uncertainty: NDArray[np.float32] | None,
) -> None:
    """Write the image as a PNG for its owner only.

    `values` and `uncertainty` [z, y, x] are on the model's grid.
    """
    if target == "ct":
        source, made = Windowing("gray", *shown.window, "MRI"), CT_BONE
    else:
        low, high = np.percentile(values, [0, 99.5])
        source, made = CT_BONE, Windowing("gray", float(low), float(high), "MRI")
    names = ("MRI", "synthetic CT") if target == "ct" else ("CT", "synthetic MRI")
    rows = [
        (names[0], planes(shown.voxels, shown, source)),
        (names[1], planes(values, shown, made)),
    ]
    if uncertainty is not None:
        top = float(np.percentile(uncertainty[shown.body], 99))
        unsure = Windowing("magma", 0.0, max(top, 1.0), "unsure by")
        rows.append((f"uncertainty, 0 to {top:.0f}", planes(uncertainty, shown, unsure)))
    figure = sheet(
        rows,
        caption=f"{name}: for research only. CT from {CT_BONE.low:.0f} to {CT_BONE.high:.0f} HU, "
        "right at the left.",
        tile_inches=2.4,
        label_rotation=90,
    )
    write_atomic(path, png(figure, 110), mode=0o600)


def planes(
    volume: NDArray[Any], shown: PreprocessedVolume, windowing: Windowing
) -> list[ImagePanel]:
    """Return two axial, one coronal and one sagittal slice through the body."""
    dz, dy, dx = shown.grid.spacing_mm
    box = bounding_box(shown.body)
    assert box is not None, "a volume without a body is refused earlier"
    z, y, x = box
    heights = [round(z.start + share * (z.stop - 1 - z.start)) for share in HEIGHTS]
    slices = [
        *((volume[height], (dy, dx)) for height in heights),
        (volume[::-1, (y.start + y.stop) // 2], (dz, dx)),
        (volume[::-1, :, (x.start + x.stop) // 2], (dz, dy)),
    ]
    return [
        ImagePanel(values=values, windowing=windowing, pixel_mm=pixel_mm)
        for values, pixel_mm in slices
    ]
