"""Draws slices: windowed, in true proportions, in a grid with colour bars.

All drawing of slices is here. `png` and `pixels` convert a figure to a PNG or to pixels.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mrct.imaging.hounsfield import (
    BONE_WINDOW_HU,
    DIFFERENCE_WINDOW_HU,
    ERROR_WINDOW_HU,
    SOFT_TISSUE_WINDOW_HU,
)

DOTS_PER_INCH = 100
_TITLE_INCHES = 0.25
_GAP_INCHES = 0.1
_BARS_INCHES = 0.5
_TITLE_PIXELS, _TITLE_LINE = 20, 30
"""Height in pixels of the letters of a title, and of its line (`in_twos`)."""
_WIDEST = 6
"""Width of an image of `in_twos`, as a multiple of its height, from which it becomes lower: a stack
of few slices, cut across, would else be tens of thousands of pixels wide."""


class Windowing(NamedTuple):
    """A colour map and the range of values that it covers."""

    colours: str
    low: float
    high: float
    unit: str
    """Unit below the colour bar."""


CT_SOFT = Windowing("gray", *SOFT_TISSUE_WINDOW_HU, "HU")
CT_BONE = Windowing("gray", *BONE_WINDOW_HU, "HU")
CT_DIFFERENCE = Windowing("RdBu_r", *DIFFERENCE_WINDOW_HU, "HU")
CT_ERROR = Windowing("magma", *ERROR_WINDOW_HU, "HU")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImagePanel:
    """One slice and its display settings."""

    values: NDArray[Any]
    """[rows, columns], the first row on top; NaN is transparent."""
    windowing: Windowing
    pixel_mm: tuple[float, float]
    """Height and width of a pixel."""
    title: str = ""
    sides: str = ""
    """Patient sides at the left and right of the image, each R, L, A or P."""
    outline: NDArray[np.bool_] | None = None
    """A mask whose edge is drawn."""
    is_smooth: bool = False
    """Whether colours between pixels are interpolated."""

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        rows, columns = self.values.shape
        return rows * self.pixel_mm[0], columns * self.pixel_mm[1]


Rows = Sequence[tuple[str, Sequence[ImagePanel]]]
"""The label of each row and its images."""


def grid(rows: Rows, bars: Sequence[Windowing], *, tile_inches: float) -> Figure:
    """Draw images on black at one scale, the widest `tile_inches` wide, with colour bars below.

    Positions are computed here, because matplotlib's layout engines take seconds for many axes.
    """
    widest_mm = max(panel.size_mm[1] for _, panels in rows for panel in panels)
    inches_per_mm = (tile_inches - _GAP_INCHES) / widest_mm
    heights = [max(panel.size_mm[0] for panel in row) * inches_per_mm for _, row in rows]
    titles = [_TITLE_INCHES if any(p.title for p in row) else _GAP_INCHES / 2 for _, row in rows]
    wide = tile_inches * max(len(row) for _, row in rows)
    tall = sum(heights) + sum(titles) + _BARS_INCHES
    figure = Figure(figsize=(wide, tall), dpi=DOTS_PER_INCH, facecolor="black")
    bottom = tall
    for (label, panels), height, title in zip(rows, heights, titles, strict=True):
        bottom -= title + height
        for number, panel in enumerate(panels):
            left, width = tile_inches * number + _GAP_INCHES / 2, tile_inches - _GAP_INCHES
            ax = figure.add_axes((left / wide, bottom / tall, width / wide, height / tall))
            _draw(ax, panel)
            ax.set_title(panel.title, color="white", size=9, pad=3)
            if number == 0:
                ax.text(0, 1, label, color="white", size=7, va="top", transform=ax.transAxes)
    share = 1 / len(bars)
    for number, windowing in enumerate(bars):
        # Narrower than its share, so that the tick labels of neighbouring bars do not overlap.
        place = ((number + 0.1) * share, 0.38 / tall, 0.8 * share, 0.07 / tall)
        bar = figure.colorbar(
            ScalarMappable(Normalize(windowing.low, windowing.high), windowing.colours),
            cax=figure.add_axes(place),
            orientation="horizontal",
        )
        bar.ax.tick_params(colors="white", labelsize=7, pad=1)
        bar.set_label(windowing.unit, color="white", size=7, labelpad=0)
    return figure


def sheet(
    rows: Rows, *, caption: str, tile_inches: float, num_columns: int = 1, label_rotation: float = 0
) -> Figure:
    """Draw images on white below a caption, each in its own square, in at least `num_columns`."""
    across, down = max([num_columns, *(len(row) for _, row in rows)]), max(1, len(rows))
    figure = Figure(
        figsize=(tile_inches * across, tile_inches * down + 0.5),
        facecolor="white",
        layout="constrained",
    )
    figure.suptitle(caption, fontsize=8)
    axes = figure.subplots(down, across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for line, (label, panels) in zip(axes, rows, strict=False):
        for ax, panel in zip(line, panels, strict=False):
            _draw(ax, panel)
            ax.set_title(panel.title, fontsize=6)
        at = {"transform": line[0].transAxes, "ha": "right", "va": "center"}
        line[0].text(-0.05, 0.5, label, fontsize=8, rotation=label_rotation, **at)
    return figure


def in_twos(panels: Sequence[ImagePanel], *, height: int) -> NDArray[np.uint8]:
    """Draw an even number of images of one size, two in a row, on black below their titles, as
    pixels [rows, columns, 3].

    `height` is that of each image in pixels, less for the widest. It takes a
    hundredth of the time of `grid`.
    """
    images, font = [], ImageFont.load_default(_TITLE_PIXELS)
    for panel in panels:
        tall, wide = panel.size_mm
        drawn = Image.fromarray(apply_colours(panel.values, panel.windowing))
        scale = min(height / tall, _WIDEST * height / wide)
        size = max(1, round(scale * wide)), max(1, round(scale * tall))
        drawn = drawn.resize(size, Image.Resampling.BICUBIC)
        canvas = Image.new("RGB", (drawn.width, drawn.height + _TITLE_LINE))
        canvas.paste(drawn, (0, _TITLE_LINE))
        middle = (canvas.width / 2, _TITLE_LINE / 2)
        ImageDraw.Draw(canvas).text(middle, panel.title, "white", font, anchor="mm")
        images.append(np.asarray(canvas))
    rows = [np.concatenate(images[start : start + 2], axis=1) for start in range(0, len(images), 2)]
    return np.concatenate(rows)


def _draw(ax: Axes, panel: ImagePanel) -> None:
    colours, low, high, _ = panel.windowing
    ax.set_axis_off()
    ax.imshow(
        panel.values,
        cmap=colours,
        vmin=low,
        vmax=high,
        aspect=panel.pixel_mm[0] / panel.pixel_mm[1],
        interpolation="bilinear" if panel.is_smooth else None,
    )
    for side, at, align in zip(panel.sides, (0.0, 1.0), ("left", "right"), strict=False):
        ax.text(at, 0.5, side, color="0.7", size=7, ha=align, transform=ax.transAxes)
    if panel.outline is not None and panel.outline.any() and not panel.outline.all():
        ax.contour(panel.outline, levels=[0.5], colors="tab:orange", linewidths=0.6)


def apply_colours(values: NDArray[Any], windowing: Windowing) -> NDArray[np.uint8]:
    """Convert values [rows, columns] to pixels [rows, columns, 3] of a window; NaN is black."""
    cmap, low, high, _ = windowing
    known = np.isfinite(values)
    colours = colormaps[cmap](Normalize(low, high)(np.where(known, values, low)), bytes=True)
    return np.asarray(colours[..., :3] * known[..., None], dtype=np.uint8)


def png(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as the content of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dots_per_inch, facecolor=figure.get_facecolor())
    return file.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as pixels [rows, columns, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
