"""The pictures of a report as PNG bytes: volumes as a radiologist reads them, learning curves.

Stored volumes are canonical (row 0 anterior, column 0 the patient's right, z up), so a slice as it
lies in memory is the radiological view: the patient's right on the left of the picture.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cyclegan.evaluate.scorecard import Shown

Windowing = tuple[str, float, float, str]
"""Colour map, low end, high end, unit."""
MRI: Windowing = ("gray", -1.0, 1.0, "of the window")
SOFT: Windowing = ("gray", -160.0, 240.0, "HU")
BONE: Windowing = ("gray", -450.0, 1050.0, "HU")
DIFFERENCE: Windowing = ("RdBu_r", -500.0, 500.0, "HU")

AXIAL_HEIGHTS = (0.35, 0.6, 0.8)
"""Of the body's slices, from its lowest."""
MARGIN_MM = 6.0
DOTS_PER_INCH = 100
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
    """What is shown side by side; beside a real CT the difference, without one the cycle."""
    cycle, real = shown.cycle, shown.real
    mri = Column(title="MRI", voxels=cycle.original, windowing=MRI)
    soft = Column(title="synthetic CT, soft", voxels=cycle.translated, windowing=SOFT)
    bone = Column(title="synthetic CT, bone", voxels=cycle.translated, windowing=BONE)
    if real is None:
        return [mri, soft, bone, Column(title="returned MRI", voxels=cycle.returned, windowing=MRI)]
    return [
        mri,
        soft,
        Column(title="real CT, soft", voxels=real, windowing=SOFT),
        bone,
        Column(title="real CT, bone", voxels=real, windowing=BONE),
        Column(
            title="synthetic - real",
            voxels=np.where(cycle.body, cycle.translated - real, np.nan),
            windowing=DIFFERENCE,
        ),
    ]


def volume_figure(shown: Shown) -> bytes:
    """Three axial slices, a coronal and a sagittal one, in true proportions, as a PNG."""
    columns = columns_of(shown)
    dz, dy, dx = shown.spacing_mm
    box = body_box(shown)
    z, y, x = (slice_.stop - slice_.start for slice_ in box)
    middle_y, middle_x = box[1].start + y // 2, box[2].start + x // 2
    # Label, how to cut the slice from a volume, (height, width) in mm, left and right edge.
    views: list[tuple[str, tuple[Any, ...], tuple[float, float], str]] = [
        (
            f"axial, height {height:.2f}",
            (at_height(shown, height), *box[1:]),
            (y * dy, x * dx),
            "RL",
        )
        for height in AXIAL_HEIGHTS
    ]
    views.append(("coronal", (box[0], middle_y, box[2]), (z * dz, x * dx), "RL"))
    views.append(("sagittal", (box[0], box[1], middle_x), (z * dz, y * dy), "AP"))

    widest = max(width for _, _, (_, width), _ in views)
    ratios = [height / widest for _, _, (height, _), _ in views] + [COLOUR_BAR]
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
    for column, image_axes in zip(columns, axes.T, strict=True):
        cmap, low, high, unit = column.windowing
        for ax, (_, cut, (height, width), edges) in zip(image_axes[:-1], views, strict=True):
            image = column.voxels[cut]
            ax.imshow(
                image if isinstance(cut[0], int) else image[::-1],  # z up
                cmap=cmap,
                norm=Normalize(low, high),
                extent=(0, width, height, 0),
                interpolation="bilinear",
            )
            ax.set_axis_off()
            for text, place, align in zip(edges, (0.0, 1.0), ("left", "right"), strict=True):
                ax.text(place, 0.5, text, color="0.7", size=7, ha=align, transform=ax.transAxes)
        image_axes[0].set_title(column.title, color="white", size=9)
        bar = figure.colorbar(image_axes[0].images[0], cax=image_axes[-1], orientation="horizontal")
        bar.ax.tick_params(colors="white", labelsize=7)
        bar.set_label(unit, color="white", size=7)
    for ax, (label, *_) in zip(axes[:, 0], views, strict=False):
        ax.text(0, 1, label, color="white", size=7, va="top", transform=ax.transAxes)
    return png(figure)


def body_box(shown: Shown) -> tuple[slice, slice, slice]:
    """The body's extent with a margin, so that no picture is mostly air."""
    slices = []
    for axis, spacing in enumerate(shown.spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        (found,) = np.nonzero(shown.cycle.body.any(axis=others))
        margin, size = round(MARGIN_MM / spacing), shown.cycle.body.shape[axis]
        slices.append(slice(max(0, found[0] - margin), min(size, found[-1] + 1 + margin)))
    return slices[0], slices[1], slices[2]


def at_height(shown: Shown, height: float) -> int:
    """The slice nearest to a relative height of the body."""
    return int(np.abs(np.array(shown.cycle.volume.height) - height).argmin())


def learning_curves(records: Iterable[dict[str, Any]]) -> bytes | None:
    """One small plot per `val/` and `loss/` quantity over the steps; None without any of them."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(("val/", "loss/")) and value is not None:
                curves.setdefault(name, []).append((record["step"], value))
    if not curves:
        return None
    names = sorted(curves, key=lambda name: (name.startswith("loss/"), name))
    across = 4
    down = -(-len(names) // across)
    figure = Figure(figsize=(3 * across, 1.9 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        steps, values = zip(*curves[name], strict=True)
        validation = name.startswith("val/")
        ax.plot(
            steps,
            values,
            color="tab:orange" if validation else "tab:blue",
            marker="o" if validation else None,
            markersize=3,
            linewidth=1.2,
        )
        ax.set_title(name, size=9)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    return png(figure)


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor())
    return file.getvalue()
