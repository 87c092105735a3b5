"""A picture of a store: middle slices of some volumes of each domain and split, body outlined.

Pseudonyms and numbers are all the text there is.
"""

from pathlib import Path

import numpy as np

from data_prep.datasets.split import SPLITS
from data_prep.store.describe import sampled
from data_prep.store.store import Store, StoredVolume
from mrct.drawing.slices import CT_SOFT, Picture, Rows, Windowing, png, sheet
from mrct.imaging.volume import MODALITIES
from mrct.storage.atomic import write_atomic

VOLUMES_PER_ROW = 6


def rows_of(store: Store) -> Rows:
    """A row per split and domain that has volumes, at most VOLUMES_PER_ROW, evenly chosen."""
    return [
        (
            f"{split}\n{modality.upper()}, {len(volumes)}",
            [middle(store, volume) for volume in sampled(volumes, VOLUMES_PER_ROW)],
        )
        for split in SPLITS
        for modality in MODALITIES
        if (volumes := store.select(modality, split))
    ]


def middle(store: Store, volume: StoredVolume) -> Picture:
    """The slice half-way up the body, with the outline of its mask."""
    z = int(np.abs(volume.height - 0.5).argmin())
    _, dy, dx = store.spacing_mm
    return Picture(
        title=f"{volume.name.split('/')[1][:8]}, slice {z} of {volume.shape[0]}",
        values=store.voxels(volume)[z],
        windowing=CT_SOFT if volume.modality == "ct" else Windowing("gray", *volume.window, "MRI"),
        pixel_mm=(dy, dx),
        outline=store.body(volume)[z].astype(bool),
    )


def caption_of(store: Store) -> str:
    """What the pictures are of."""
    dz, dy, dx = store.spacing_mm
    return (
        f"Middle slices, {dz:g} x {dy:g} x {dx:g} mm (z y x), patient's right at the left,\n"
        f"body outlined. CT from {CT_SOFT.low:g} to {CT_SOFT.high:g} HU, MRI in its own window."
    )


def save_contact_sheet(store: Store, path: Path) -> None:
    """Write the picture as a PNG."""
    figure = sheet(rows_of(store), caption=caption_of(store), tile_inches=1.8, num_columns=3)
    write_atomic(path, png(figure, 150))
