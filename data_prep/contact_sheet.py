"""A picture of a store: middle slices of some volumes of each domain and split, body outlined.

Pseudonyms and numbers are all the text there is. The home of matplotlib in data_prep.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.atomic import write_atomic
from data_prep.histogram import sampled
from data_prep.split import SPLITS
from data_prep.store import Store, StoredVolume
from data_prep.volume import Modality

CT_WINDOW_HU = (-160, 240)
"""Soft tissue: what is brighter is bone, what is darker is fat or air."""
VOLUMES_PER_ROW = 6
_TILE_INCHES = 1.8
_MODALITIES: tuple[Modality, ...] = ("mri", "ct")


def contact_sheet(store: Store) -> Figure:
    """A row per split and domain that has volumes, at most VOLUMES_PER_ROW of them, evenly chosen."""
    rows = [
        (f"{split}\n{modality.upper()}, {len(volumes)}", sampled(volumes, VOLUMES_PER_ROW))
        for split in SPLITS
        for modality in _MODALITIES
        if (volumes := store.select(modality, split))
    ]
    columns = max([3, *(len(volumes) for _, volumes in rows)])
    figure = Figure(
        figsize=(_TILE_INCHES * columns, _TILE_INCHES * max(1, len(rows)) + 0.5),
        facecolor="white",
        layout="constrained",
    )
    low, high = CT_WINDOW_HU
    dz, dy, dx = store.spacing_mm
    figure.suptitle(
        f"Middle slices, {dz:g} x {dy:g} x {dx:g} mm (z y x), patient's right at the left,\n"
        f"body outlined. CT from {low} to {high} HU, MRI in its own window.",
        fontsize=8,
    )
    axes = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (label, volumes) in zip(axes, rows, strict=False):
        for axis, volume in zip(line, volumes, strict=False):
            draw_middle(axis, store, volume)
        line[0].text(-0.05, 0.5, label, fontsize=8, transform=line[0].transAxes, ha="right")
    return figure


def draw_middle(axis: Axes, store: Store, volume: StoredVolume) -> None:
    """The slice half-way up the body, with the outline of its mask."""
    z = int(np.abs(volume.height - 0.5).argmin())
    low, high = CT_WINDOW_HU if volume.modality == "ct" else volume.window
    _, dy, dx = store.spacing_mm
    axis.imshow(store.voxels(volume)[z], cmap="gray", vmin=low, vmax=high, aspect=dy / dx)
    body = store.body(volume)[z]
    if body.any() and not body.all():
        axis.contour(body, levels=[0.5], colors="tab:orange", linewidths=0.6)
    axis.set_title(f"{volume.name.split('/')[1][:8]}, slice {z} of {volume.shape[0]}", fontsize=6)


def save_contact_sheet(store: Store, path: Path) -> None:
    """Write the picture as a PNG."""
    content = BytesIO()
    contact_sheet(store).savefig(content, format="png", dpi=150)
    write_atomic(path, content.getvalue())
