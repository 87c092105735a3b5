"""A picture of one result: source, synthetic volume and its uncertainty in four planes.

On the model's grid, upright; the patient's right is at the left. It holds no patient text. The
home of matplotlib in translate.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_prep.atomic import write_atomic
from data_prep.harmonise import HarmonisedVolume
from data_prep.intensity import Window
from data_prep.volume import Modality

CT_WINDOW_HU: Window = (-450.0, 1050.0)
"""Wide enough for fat, brain and bone."""
HEIGHTS = (0.45, 0.7)
"""Of the axial slices in the body: 0 is its lowest slice, 1 its highest."""
_INCHES = 2.4
_NAMES: dict[Modality, str] = {"ct": "CT", "mri": "MRI"}
Planes = list[tuple[NDArray[Any], float]]


def save_preview(
    path: Path,
    name: str,
    shown: HarmonisedVolume,
    values: NDArray[np.float32],
    target: Modality,
    uncertainty: NDArray[np.float32] | None,
) -> None:
    """Write the picture as a PNG; `values` and `uncertainty` [z, y, x] are on the model's grid."""
    source: Modality = "mri" if target == "ct" else "ct"
    rows: list[tuple[str, NDArray[Any], Window, str]] = [
        (_NAMES[source], shown.voxels, _window(source, shown.window), "gray"),
        (f"synthetic {_NAMES[target]}", values, _window(target, _range(values)), "gray"),
    ]
    if uncertainty is not None:
        top = float(np.percentile(uncertainty[shown.body], 99))
        rows.append((f"unsure by, 0 to {top:.0f}", uncertainty, (0.0, max(top, 1.0)), "magma"))
    spacing_mm = shown.grid.spacing_mm
    columns = planes(rows[0][1], shown.body, spacing_mm)
    figure = Figure(
        figsize=(_INCHES * len(columns), _INCHES * len(rows) + 0.4),
        facecolor="white",
        layout="constrained",
    )
    low, high = CT_WINDOW_HU
    figure.suptitle(
        f"{name}: for research only. CT from {low:.0f} to {high:.0f} HU, right at the left.",
        fontsize=8,
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (label, volume, window, colours) in zip(axes, rows, strict=True):
        for axis, (image, aspect) in zip(line, planes(volume, shown.body, spacing_mm), strict=True):
            _draw(axis, image, aspect, window, colours)
        line[0].text(
            -0.04,
            0.5,
            label,
            fontsize=8,
            rotation=90,
            va="center",
            ha="right",
            transform=line[0].transAxes,
        )
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomic(path, content.getvalue())


def planes(
    volume: NDArray[Any], body: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> Planes:
    """Two axial, a coronal and a sagittal slice through the body, and a pixel's height to width."""
    dz, dy, dx = spacing_mm
    z, y, x = (np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    heights = [round(z[0] + share * (z[-1] - z[0])) for share in HEIGHTS]
    middle_y, middle_x = int(y[len(y) // 2]), int(x[len(x) // 2])
    return [
        *((volume[height], dy / dx) for height in heights),
        (volume[::-1, middle_y], dz / dx),
        (volume[::-1, :, middle_x], dz / dy),
    ]


def _draw(axis: Axes, image: NDArray[Any], aspect: float, window: Window, colours: str) -> None:
    axis.set_axis_off()
    axis.imshow(image, cmap=colours, vmin=window[0], vmax=window[1], aspect=aspect)


def _window(modality: Modality, own: Window) -> Window:
    return CT_WINDOW_HU if modality == "ct" else own


def _range(values: NDArray[np.float32]) -> Window:
    low, high = np.percentile(values, [0, 99.5])
    return float(low), float(high)
