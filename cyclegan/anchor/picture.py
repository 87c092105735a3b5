"""Draws some MRIs with what was warped onto them; its only text is pseudonyms and numbers."""

from pathlib import Path

import numpy as np

from cyclegan.anchor.fusion import fused
from cyclegan.anchor.stage import GoBetween
from data_prep.store.companions.cache import Companions
from data_prep.store.companions.group import Companion
from data_prep.store.store import Store
from mrct.drawing.slices import CT_BONE, ImagePanel, Windowing, png, sheet
from mrct.storage.atomic import write_atomic

MRIS_SHOWN = 3
SHOWN_AT = 0.6
"""Height in the body of the slices."""


def save_picture(store: Store, companions: Companions, between: GoBetween, path: Path) -> None:
    """Write the picture as a PNG: the worst, a middling and the best MRI by their best warp.

    Args:
        store: The store.
        companions: At least one.
        between: What the CTs were registered to.
        path: File to write or replace.

    Raises:
        StoreError: A volume or a warp on the picture is damaged.
    """
    ranked = sorted(companions.by_mri.values(), key=lambda each: (max(each.quality), each.mri.name))
    places = np.linspace(0, len(ranked) - 1, min(MRIS_SHOWN, len(ranked)))
    rows = [
        (each.mri.name.split("/")[1][:8], _row(store, each, between))
        for each in (ranked[round(place)] for place in places)
    ]
    caption = (
        "The MRI of the train split that its warps explain worst, a middling one and the best, "
        f"and\nwhat was warped onto them. CT from {CT_BONE.low:g} to {CT_BONE.high:g} HU, "
        "patient's right on the left."
    )
    figure = sheet(rows, caption=caption, tile_inches=2.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, png(figure, 150), mode=0o600)  # slices of patients


def _row(store: Store, companion: Companion, between: GoBetween) -> list[ImagePanel]:
    mri = store.volumes.named(companion.mri.name)
    assert mri is not None
    z = int(np.abs(mri.height - SHOWN_AT).argmin())
    voxels, body = store.voxels(mri), store.body(mri)
    guess = between.translate(mri) if between.translate else None
    if guess is None:
        guess = between.table.table.synthetic_ct(voxels, body, mri.height)
    best, worst = int(np.argmax(companion.quality)), int(np.argmin(companion.quality))
    hu, weight = companion.voxels
    cuts = [("synthetic CT", guess[z])]
    cuts += [
        (f"{name} warp, {companion.quality[k]:.2f} nats", hu[k, z])
        for name, k in (("best", best), ("worst", worst))
    ]
    cuts.append(("mean by weight", fused(hu[:, z : z + 1], weight[:, z : z + 1])[0]))
    _, dy, dx = store.spacing_mm
    shown = Windowing("gray", *mri.window, "MRI")
    return [
        ImagePanel(title="MRI", values=voxels[z], windowing=shown, pixel_mm=(dy, dx)),
        *(
            ImagePanel(title=title, values=values, windowing=CT_BONE, pixel_mm=(dy, dx))
            for title, values in cuts
        ),
    ]
