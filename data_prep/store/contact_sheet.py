"""Draws a contact sheet: middle slices of the oddest volumes, then of some of each split.

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
    """Return the slice at half the height of the body, with the outline of its mask."""
    return _panel(store, volume, int(np.abs(volume.height - 0.5).argmin()))


def _odd_panel(store: Store, odd: OddVolume) -> ImagePanel:
    """Return the slice with most body, where an outline that failed shows, and the reason."""
    panel = _panel(store, odd.volume, int(odd.volume.body_fraction.argmax()))
    return replace(panel, title=f"{panel.title}\n{odd.reason}")


def _panel(store: Store, volume: StoredVolume, z: int) -> ImagePanel:
    _, dy, dx = store.spacing_mm
    return ImagePanel(
        title=f"{volume.name.split('/')[1][:8]}, slice {z} of {volume.shape[0]}",
        values=store.voxels(volume)[z],
        windowing=CT_SOFT if volume.modality == "ct" else Windowing("gray", *volume.window, "MRI"),
        pixel_mm=(dy, dx),
        outline=store.body(volume)[z].astype(bool),
    )


def caption_of(store: Store) -> str:
    """Return the caption of the contact sheet."""
    dz, dy, dx = store.spacing_mm
    return (
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
    rows = [*odd_rows_of(store, odd), *rows_of(store)]
    figure = sheet(rows, caption=caption_of(store), tile_inches=1.8, num_columns=3)
    write_atomic(path, png(figure, 150), mode=0o600)  # slices of patients
    return odd
