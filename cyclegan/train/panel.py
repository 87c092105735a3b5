"""The picture of a validation: both cycles at one height, with maps of what changed.

Windows are fixed and their colour bars are below, so that pictures of two steps, or of two runs,
compare. Rows and columns lie as in memory, which is the radiological view.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cyclegan.infer.cycle import Cycle
from data_prep.intensity import denormalise
from mrct.imaging.hounsfield import WINDOW_HU

SHOWN_HEIGHT = 0.6
"""Relative height of the pictured slice: above the orbits, through the ventricles."""
DOTS_PER_INCH = 100
TILE_INCHES = 2.2
BARS_INCHES = 0.6


class Windowing(NamedTuple):
    """What becomes which colour."""

    colours: str
    low: float
    high: float
    label: str


BONE = Windowing("gray", -450.0, 1050.0, "HU, bone window")
CHANGE_HU = Windowing("RdBu_r", -500.0, 500.0, "difference in HU")
MRI = Windowing("gray", 0.0, 1.0, "MRI, of its window")
CHANGE_MRI = Windowing("RdBu_r", -0.5, 0.5, "difference, of the MRI's window")
WINDOWINGS = (BONE, CHANGE_HU, MRI, CHANGE_MRI)


class Tile(NamedTuple):
    """One picture of a panel."""

    title: str
    values: NDArray[Any]
    windowing: Windowing


def tiles_of(cycle: Cycle, real: NDArray[Any] | None = None) -> list[Tile]:
    """A volume there and back; beside a real CT [z, y, x] in HU also how far the synthetic one is
    from it, inside the body."""
    z = int(np.abs(np.array(cycle.volume.height) - SHOWN_HEIGHT).argmin())
    body = cycle.body[z]
    assert cycle.returned is not None, "validation goes both ways"

    def change(after: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        return np.where(body, after - before, np.nan)

    original, returned, translated = (
        images[z] for images in (cycle.original, cycle.returned, cycle.translated)
    )
    if cycle.volume.modality == "ct":
        ct, back = (denormalise(images, WINDOW_HU) for images in (original, returned))
        return [
            Tile("CT", ct, BONE),
            Tile("synthetic MRI", translated, MRI),
            Tile("returned CT", back, BONE),
            Tile("returned - CT", change(back, ct), CHANGE_HU),
        ]
    mri, back = (0.5 * (images + 1) for images in (original, returned))
    tiles = [Tile("MRI", mri, MRI), Tile("synthetic CT", translated, BONE)]
    if real is not None:
        tiles += [
            Tile("real CT", real[z], BONE),
            Tile("synthetic - real", change(translated, real[z].astype(np.float32)), CHANGE_HU),
        ]
    return [
        *tiles,
        Tile("returned MRI", back, MRI),
        Tile("returned - MRI", change(back, mri), CHANGE_MRI),
    ]


def panel(rows: list[list[Tile]], spacing_yx_mm: tuple[float, float]) -> NDArray[np.uint8]:
    """The tiles of each volume in a row, in true proportions, above the colour bars; pixels
    [rows, columns, 3]."""
    num_columns = max(map(len, rows))
    height, width = rows[0][0].values.shape
    aspect = spacing_yx_mm[0] / spacing_yx_mm[1]
    tile_inches = TILE_INCHES * aspect * height / width + 0.25  # and its title
    tall = tile_inches * len(rows) + BARS_INCHES
    figure = Figure(figsize=(TILE_INCHES * num_columns, tall), dpi=DOTS_PER_INCH, facecolor="black")
    margins = {"left": 0.005, "right": 0.995, "top": 1 - 0.22 / tall, "bottom": BARS_INCHES / tall}
    axes = figure.subplots(
        len(rows), num_columns, squeeze=False, gridspec_kw=margins | {"wspace": 0.02, "hspace": 0.1}
    )
    for line, tiles in zip(axes, rows, strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, tile in zip(line, tiles, strict=False):
            colours, low, high, _ = tile.windowing
            ax.imshow(tile.values, cmap=colours, vmin=low, vmax=high, aspect=aspect)
            ax.set_title(tile.title, color="white", size=9, pad=3)
    share = 1 / len(WINDOWINGS)
    for number, (colours, low, high, label) in enumerate(WINDOWINGS):
        place = ((number + 0.1) * share, 0.42 / tall, 0.8 * share, 0.1 / tall)
        bar = figure.colorbar(
            ScalarMappable(Normalize(low, high), colours),
            cax=figure.add_axes(place),
            orientation="horizontal",
        )
        bar.ax.tick_params(colors="white", labelsize=7, pad=1)
        bar.set_label(label, color="white", size=7, labelpad=0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
