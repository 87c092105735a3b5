"""The images of a report as PNG bytes: slices in the radiological view, and error maps.

Stored volumes are canonical (row 0 anterior, column 0 the patient's right, z up), so a slice in
memory order is the radiological view: the patient's right on the left of the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.evaluate.score_table import ShownVolume
from mrct.drawing.slices import (
    CT_BONE,
    CT_DIFFERENCE,
    CT_ERROR,
    CT_SOFT,
    ImagePanel,
    Windowing,
    grid,
    png,
)
from mrct.imaging.body_mask import bounding_box

NORMALISED_MRI = Windowing("gray", -1.0, 1.0, "of the window")
AXIAL_HEIGHTS = (0.35, 0.6, 0.8)
"""Heights in the body, 0 to 1."""
MARGIN_MM = 6.0
VIEW_INCHES = 2.0
ERROR_INCHES = 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Column:
    """One column of a figure: a volume that every view cuts."""

    title: str
    voxels: NDArray[Any]
    windowing: Windowing


def columns_of(shown: ShownVolume) -> list[Column]:
    """Return the images to show side by side: with a real CT the difference, else the returned
    MRI."""
    cycle, real = shown.cycle, shown.real
    mri = Column(title="MRI", voxels=cycle.original, windowing=NORMALISED_MRI)
    soft = Column(title="synthetic CT, soft", voxels=cycle.translated, windowing=CT_SOFT)
    bone = Column(title="synthetic CT, bone", voxels=cycle.translated, windowing=CT_BONE)
    if real is None or shown.compared is None:
        if cycle.returned is None:
            return [mri, soft, bone]
        return [
            mri,
            soft,
            bone,
            Column(title="returned MRI", voxels=cycle.returned, windowing=NORMALISED_MRI),
        ]
    return [
        mri,
        soft,
        Column(title="real CT, soft", voxels=real, windowing=CT_SOFT),
        bone,
        Column(title="real CT, bone", voxels=real, windowing=CT_BONE),
        Column(
            title="synthetic - real",
            voxels=np.where(shown.compared, cycle.translated - real, np.nan),
            windowing=CT_DIFFERENCE,
        ),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One slice through the body, the same for every image of a volume."""

    label: str
    cut: tuple[slice | int, slice | int, slice | int]
    pixel_mm: tuple[float, float]
    """Height and width of a voxel in the view."""
    edges: str
    """Sides of the patient at the left and at the right edge: R, L, A or P."""

    def of(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return the image [rows, columns] with the anterior row on top, or else the superior
        row."""
        image: NDArray[Any] = voxels[self.cut]
        return image if isinstance(self.cut[0], int) else image[::-1]

    def panel(self, column: Column, *, is_first: bool) -> ImagePanel:
        """Return the image of a column in this view; only the first view has a title."""
        return ImagePanel(
            title=column.title if is_first else "",
            values=self.of(column.voxels),
            windowing=column.windowing,
            pixel_mm=self.pixel_mm,
            sides=self.edges,
            is_smooth=True,
        )


def views_of(shown: ShownVolume) -> list[View]:
    """Return three axial, one coronal and one sagittal view, cropped to the body."""
    dz, dy, dx = shown.spacing_mm
    z, y, x = body_box(shown)
    heights = np.array(shown.cycle.volume.height)
    axial = [
        View(
            label=f"axial, height {height:.2f}",
            cut=(int(np.abs(heights - height).argmin()), y, x),
            pixel_mm=(dy, dx),
            edges="RL",
        )
        for height in AXIAL_HEIGHTS
    ]
    middle_y, middle_x = (y.start + y.stop) // 2, (x.start + x.stop) // 2
    coronal = View(label="coronal", cut=(z, middle_y, x), pixel_mm=(dz, dx), edges="RL")
    sagittal = View(label="sagittal", cut=(z, y, middle_x), pixel_mm=(dz, dy), edges="AP")
    return [*axial, coronal, sagittal]


def body_box(shown: ShownVolume) -> tuple[slice, slice, slice]:
    """Return the extent of the body with a margin, so that no image is mostly air."""
    margins = [round(MARGIN_MM / spacing) for spacing in shown.spacing_mm]
    box = bounding_box(shown.cycle.body, margins)
    assert box is not None, "a stored volume has a body"
    z, y, x = box
    return z, y, x


def volume_figure(shown: ShownVolume) -> bytes:
    """Draw all views of all images of a volume, in true proportions, as a PNG."""
    columns = columns_of(shown)
    rows = [
        (view.label, [view.panel(column, is_first=not number) for column in columns])
        for number, view in enumerate(views_of(shown))
    ]
    return png(grid(rows, [column.windowing for column in columns], tile_inches=VIEW_INCHES))


def error_maps(shown: ShownVolume) -> bytes | None:
    """Draw |synthetic - real| of a volume, averaged along each axis, as a PNG.

    The projections are from above, from the front and from the patient's left, over the compared
    voxels; black where there are none. None without a real CT.
    """
    if shown.real is None or shown.compared is None or not shown.compared.any():
        return None
    box = body_box(shown)
    counted = shown.compared[box]
    errors = np.where(counted, np.abs(shown.cycle.translated - shown.real)[box], 0)
    windowing = CT_ERROR._replace(unit="mean absolute error, HU")
    maps = []
    for axis, (title, sides) in enumerate((("axial", "RL"), ("coronal", "RL"), ("sagittal", "AP"))):
        voxels = counted.sum(axis=axis)
        means = np.where(voxels > 0, errors.sum(axis=axis) / np.maximum(voxels, 1), np.nan)
        height_mm, width_mm = (mm for at, mm in enumerate(shown.spacing_mm) if at != axis)
        maps.append(
            ImagePanel(
                title=title,
                values=means[::-1] if axis else means,
                windowing=windowing,
                pixel_mm=(height_mm, width_mm),
                sides=sides,
            )
        )
    return png(grid([("", maps)], [windowing], tile_inches=ERROR_INCHES))
