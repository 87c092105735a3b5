"""Draws a contact sheet: odd volumes, training volumes on the axis of heights, and middle slices.

Its only text is pseudonyms and numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.datasets.split import SPLITS
from data_prep.store.describe import sample_volumes
from data_prep.store.oddity import OddVolume, oddest_of
from data_prep.store.store import Store, StoredVolume
from mrct.drawing.slices import CT_SOFT, ImagePanel, Rows, Windowing, png, sheet
from mrct.imaging.modality import MODALITIES
from mrct.storage.atomic import write_atomic

VOLUMES_PER_ROW = 6
ODD_ROWS = 3
"""Rows of odd volumes for each modality."""


def rows_of(store: Store) -> Rows:
    """Return a row for each split and domain, with at most VOLUMES_PER_ROW volumes."""
    return [
        (
            f"{split}\n{modality.upper()}, {len(volumes)}",
            [middle_slices(store, volume) for volume in sample_volumes(volumes, VOLUMES_PER_ROW)],
        )
        for split in SPLITS
        for modality in MODALITIES
        if (volumes := store.select(modality, split))
    ]


def aligned_rows_of(store: Store) -> Rows:
    """Return a row of training volumes for each domain, at their places on the axis of heights."""
    if not store.axis.sizes_mm:
        return []
    return [
        (
            f"heights\n{modality.upper()}",
            [_sagittal(store, volume) for volume in sample_volumes(volumes, VOLUMES_PER_ROW)],
        )
        for modality in MODALITIES
        if (volumes := store.select(modality, "train"))
    ]


def _sagittal(store: Store, volume: StoredVolume) -> ImagePanel:
    """Return the sagittal slice through the middle of the body, from height 1 to 0."""
    dz, dy, _ = store.spacing_mm
    heights = np.linspace(1, 0, round((store.axis.high_mm - store.axis.low_mm) / dz) + 1)
    z = np.rint(volume.lowest + heights * (volume.highest - volume.lowest)).astype(int)
    shown = ((z >= 0) & (z < volume.shape[0]))[:, None]
    voxels, body = store.voxels(volume), store.body(volume).astype(bool)
    x, within = int(np.median(body.nonzero()[2])), z.clip(0, volume.shape[0] - 1)
    return ImagePanel(
        title=_short_name(volume),
        values=np.where(shown, voxels[within, :, x], np.nan),
        windowing=_windowing(volume),
        pixel_mm=(dz, dy),
        outline=body[within, :, x] & shown,
    )


def odd_rows_of(store: Store, odd: Sequence[OddVolume]) -> Rows:
    """Return rows of odd volumes, of one modality each, every volume with its reason."""
    rows = []
    for modality in MODALITIES:
        own = [each for each in odd if each.volume.modality == modality]
        for first in range(0, len(own), VOLUMES_PER_ROW):
            label = f"oddest\n{modality.upper()}" if first == 0 else ""
            part = own[first : first + VOLUMES_PER_ROW]
            rows.append((label, [_odd_panel(store, each) for each in part]))
    return rows


def middle_slices(store: Store, volume: StoredVolume) -> ImagePanel:
    """Return the slice at half the height, with the outline of its mask."""
    return _panel(store, volume, int(np.abs(volume.height - 0.5).argmin()))


def _odd_panel(store: Store, odd: OddVolume) -> ImagePanel:
    """Return the slice with most body, where an outline that failed shows, and the reason."""
    panel = _panel(store, odd.volume, int(odd.volume.body_fraction.argmax()))
    return replace(panel, title=f"{panel.title}\n{odd.reason}")


def _panel(store: Store, volume: StoredVolume, z: int) -> ImagePanel:
    _, dy, dx = store.spacing_mm
    return ImagePanel(
        title=f"{_short_name(volume)}, slice {z} of {volume.shape[0]}",
        values=store.voxels(volume)[z],
        windowing=_windowing(volume),
        pixel_mm=(dy, dx),
        outline=store.body(volume)[z].astype(bool),
    )


def _short_name(volume: StoredVolume) -> str:
    return volume.name.split("/")[1][:8]


def _windowing(volume: StoredVolume) -> Windowing:
    return CT_SOFT if volume.modality == "ct" else Windowing("gray", *volume.window, "MRI")


def caption_of(store: Store) -> str:
    """Return the caption of the contact sheet."""
    dz, dy, dx = store.spacing_mm
    heights = (
        "Heights: sagittal slices of training volumes, laid on the axis that they have in common.\n"
    )
    return (
        f"{heights if store.axis.sizes_mm else ''}"
        f"Middle slices, of odd volumes the widest, {dz:g} x {dy:g} x {dx:g} mm (z y x), "
        "patient's right on the left,\n"
        f"body outlined. CT from {CT_SOFT.low:g} to {CT_SOFT.high:g} HU, MRI in its own window."
    )


def save_contact_sheet(store: Store, path: Path) -> list[OddVolume]:
    """Write the contact sheet as a PNG, and return the odd volumes on it.

    Args:
        store: Store with the volumes.
        path: File to write or replace.

    Raises:
        StoreError: A volume on the sheet is damaged.
    """
    odd = oddest_of(store, ODD_ROWS * VOLUMES_PER_ROW)
    rows = [*odd_rows_of(store, odd), *aligned_rows_of(store), *rows_of(store)]
    figure = sheet(rows, caption=caption_of(store), tile_inches=1.8, num_columns=3)
    write_atomic(path, png(figure, 150), mode=0o600)  # slices of patients
    return odd
