"""Draws a contact sheet: middle slices of some volumes of each domain and split, body outlined.

Its only text is pseudonyms and numbers.
"""

from pathlib import Path

import numpy as np

from data_prep.datasets.split import SPLITS
from data_prep.store.describe import sample_volumes
from data_prep.store.store import Store, StoredVolume
from mrct.drawing.slices import CT_SOFT, ImagePanel, Rows, Windowing, png, sheet
from mrct.imaging.volume import MODALITIES
from mrct.storage.atomic import write_atomic

VOLUMES_PER_ROW = 6


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


def middle_slices(store: Store, volume: StoredVolume) -> ImagePanel:
    """Return the slice at half the height of the body, with the outline of its mask."""
    z = int(np.abs(volume.height - 0.5).argmin())
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
        f"Middle slices, {dz:g} x {dy:g} x {dx:g} mm (z y x), patient's right on the left,\n"
        f"body outlined. CT from {CT_SOFT.low:g} to {CT_SOFT.high:g} HU, MRI in its own window."
    )


def save_contact_sheet(store: Store, path: Path) -> None:
    """Write the contact sheet as a PNG.

    Args:
        store: Store with the volumes.
        path: File to write or replace.

    Raises:
        StoreError: A volume on the sheet is damaged.
    """
    figure = sheet(rows_of(store), caption=caption_of(store), tile_inches=1.8, num_columns=3)
    write_atomic(path, png(figure, 150))
