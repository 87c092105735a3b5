"""The pictures of a report as PNG bytes: volumes as a radiologist reads them, and error maps.

Stored volumes are canonical (row 0 anterior, column 0 the patient's right, z up), so a slice as it
lies in memory is the radiological view: the patient's right on the left of the picture.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cyclegan.evaluate.plots import png
from cyclegan.evaluate.scorecard import Shown

Windowing = tuple[str, float, float, str]
"""Colour map, low end, high end, unit."""
MRI: Windowing = ("gray", -1.0, 1.0, "of the window")
SOFT: Windowing = ("gray", -160.0, 240.0, "HU")
BONE: Windowing = ("gray", -450.0, 1050.0, "HU")
DIFFERENCE: Windowing = ("RdBu_r", -500.0, 500.0, "HU")
ERROR: Windowing = ("magma", 0.0, 500.0, "HU")

AXIAL_HEIGHTS = (0.35, 0.6, 0.8)
"""Of the body's slices, from its lowest."""
MARGIN_MM = 6.0
TILE_INCHES = 1.9
COLOUR_BAR = 0.04
"""Height of the colour bars, as a share of a picture's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """One image of a volume, the same in every view."""

    title: str
    voxels: NDArray[Any]
    windowing: Windowing


def columns_of(shown: Shown) -> list[Column]:
    """What is shown side by side; beside a real CT the difference, without one what came back."""
    cycle, real = shown.cycle, shown.real
    mri = Column(title="MRI", voxels=cycle.original, windowing=MRI)
    soft = Column(title="synthetic CT, soft", voxels=cycle.translated, windowing=SOFT)
    bone = Column(title="synthetic CT, bone", voxels=cycle.translated, windowing=BONE)
    if real is None or shown.compared is None:
        if cycle.returned is None:
            return [mri, soft, bone]
        return [mri, soft, bone, Column(title="returned MRI", voxels=cycle.returned, windowing=MRI)]
    return [
        mri,
        soft,
        Column(title="real CT, soft", voxels=real, windowing=SOFT),
        bone,
        Column(title="real CT, bone", voxels=real, windowing=BONE),
        Column(
            title="synthetic - real",
            voxels=np.where(shown.compared, cycle.translated - real, np.nan),
            windowing=DIFFERENCE,
        ),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One cut through the body, the same for every image of a volume."""

    label: str
    cut: tuple[slice | int, slice | int, slice | int]
    size_mm: tuple[float, float]
    """Height and width of the picture."""
    edges: str
    """What lies at its left and at its right: R, L, A or P."""

    def of(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The picture [rows, columns], its first row on top: anterior, or else superior."""
        picture: NDArray[Any] = voxels[self.cut]
        return picture if isinstance(self.cut[0], int) else picture[::-1]


def views_of(shown: Shown) -> list[View]:
    """Three axial slices, a coronal and a sagittal one, cut close to the body."""
    dz, dy, dx = shown.spacing_mm
    z, y, x = body_box(shown)
    tall, deep, wide = (
        (side.stop - side.start) * spacing
        for side, spacing in zip((z, y, x), (dz, dy, dx), strict=True)
    )
    heights = np.array(shown.cycle.volume.height)
    axial = [
        View(
            label=f"axial, height {height:.2f}",
            cut=(int(np.abs(heights - height).argmin()), y, x),
            size_mm=(deep, wide),
            edges="RL",
        )
        for height in AXIAL_HEIGHTS
    ]
    middle_y, middle_x = (y.start + y.stop) // 2, (x.start + x.stop) // 2
    coronal = View(label="coronal", cut=(z, middle_y, x), size_mm=(tall, wide), edges="RL")
    sagittal = View(label="sagittal", cut=(z, y, middle_x), size_mm=(tall, deep), edges="AP")
    return [*axial, coronal, sagittal]


def body_box(shown: Shown) -> tuple[slice, slice, slice]:
    """The body's extent with a margin, so that no picture is mostly air."""
    body, sides = shown.cycle.body, []
    for axis, spacing in enumerate(shown.spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        (found,) = np.nonzero(body.any(axis=others))
        margin = round(MARGIN_MM / spacing)
        low, high = int(found[0]) - margin, int(found[-1]) + 1 + margin
        sides.append(slice(max(0, low), min(body.shape[axis], high)))
    z, y, x = sides
    return z, y, x


def volume_figure(shown: Shown) -> bytes:
    """All views of all images of a volume, in true proportions, as a PNG."""
    columns, views = columns_of(shown), views_of(shown)
    widest = max(view.size_mm[1] for view in views)
    ratios = [view.size_mm[0] / widest for view in views] + [COLOUR_BAR]
    tall = TILE_INCHES * sum(ratios) + 0.8
    # Fixed margins: matplotlib's own layout engines take seconds for this many axes.
    figure = Figure(figsize=(1.05 * TILE_INCHES * len(columns), tall), facecolor="black")
    axes = figure.subplots(
        len(ratios),
        len(columns),
        squeeze=False,
        gridspec_kw={
            "height_ratios": ratios,
            "left": 0.01,
            "right": 0.99,
            "top": 1 - 0.25 / tall,
            "bottom": 0.4 / tall,
            "wspace": 0.05,
            "hspace": 0.04,
        },
    )
    for column, (*image_axes, bar_axes) in zip(columns, axes.T, strict=True):
        for ax, view in zip(image_axes, views, strict=True):
            draw(ax, column, view)
        image_axes[0].set_title(column.title, color="white", size=9)
        _, low, high, unit = column.windowing
        bar = figure.colorbar(
            image_axes[0].images[0],
            cax=bar_axes,
            orientation="horizontal",
            ticks=np.linspace(low, high, 5)[1:-1],  # the ends would run into their neighbours
        )
        bar.ax.tick_params(colors="white", labelsize=7)
        bar.set_label(unit, color="white", size=7)
    for ax, view in zip(axes[:-1, 0], views, strict=True):
        ax.text(0, 1, view.label, color="white", size=7, va="top", transform=ax.transAxes)
    return png(figure)


def coloured(values: NDArray[Any], windowing: Windowing) -> NDArray[np.uint8]:
    """Values [rows, columns] as the pixels [rows, columns, 3] of a window; NaN is black."""
    cmap, low, high, _ = windowing
    known = np.isfinite(values)
    pixels = colormaps[cmap](Normalize(low, high)(np.where(known, values, low)), bytes=True)
    return np.asarray(pixels[..., :3] * known[..., None], dtype=np.uint8)


def draw(ax: Axes, column: Column, view: View) -> None:
    """One picture, windowed, with the sides of the patient marked."""
    cmap, low, high, _ = column.windowing
    height_mm, width_mm = view.size_mm
    ax.imshow(
        view.of(column.voxels),
        cmap=cmap,
        norm=Normalize(low, high),
        extent=(0, width_mm, height_mm, 0),
        interpolation="bilinear",
    )
    ax.set_axis_off()
    for side, place, align in zip(view.edges, (0.0, 1.0), ("left", "right"), strict=True):
        ax.text(place, 0.5, side, color="0.7", size=7, ha=align, transform=ax.transAxes)


def error_maps(shown: Shown) -> bytes | None:
    """Where a volume's error lies: |synthetic - real| averaged along each line of sight, as a PNG.

    Seen from above, from the front and from the patient's left, over the compared voxels; black
    where there are none. None without a real CT.
    """
    if shown.real is None or shown.compared is None or not shown.compared.any():
        return None
    z, y, x = body_box(shown)
    counted = shown.compared[z, y, x]
    errors = np.where(counted, np.abs(shown.cycle.translated - shown.real)[z, y, x], 0)
    tall, deep, wide = (n * mm for n, mm in zip(counted.shape, shown.spacing_mm, strict=True))
    cmap, low, high, unit = ERROR
    sides = {"axial": (0, deep, wide, "RL"), "coronal": (1, tall, wide, "RL")}
    sides["sagittal"] = (2, tall, deep, "AP")
    figure = Figure(figsize=(9, 3.4), facecolor="black", layout="constrained")
    axes = figure.subplots(1, len(sides))
    for ax, (title, (axis, height_mm, width_mm, edges)) in zip(axes, sides.items(), strict=True):
        voxels = counted.sum(axis=axis)
        means = errors.sum(axis=axis) / np.maximum(voxels, 1)
        picture = np.where(voxels > 0, means, np.nan)
        shown_image = ax.imshow(
            picture if axis == 0 else picture[::-1],
            cmap=cmap,
            norm=Normalize(low, high),
            extent=(0, width_mm, height_mm, 0),
        )
        ax.set_title(title, color="white", size=9)
        ax.set_axis_off()
        for side, place, align in zip(edges, (0.0, 1.0), ("left", "right"), strict=True):
            ax.text(place, 0.5, side, color="0.7", size=7, ha=align, transform=ax.transAxes)
    bar = figure.colorbar(shown_image, ax=axes, fraction=0.03)
    bar.ax.tick_params(colors="white", labelsize=7)
    bar.set_label(f"mean absolute error, {unit}", color="white", size=8)
    return png(figure)
