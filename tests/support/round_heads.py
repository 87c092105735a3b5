"""Heads of a few ellipsoids, cut anywhere: outlines whose place along the body is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.datasets.split import Split
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.modality import MODALITIES
from tests.support.stores import prepared

SPACING_MM = (3.0, 4.0, 4.0)
ROWS_MM, COLUMNS_MM = (np.arange(64) * 4 - 126)[:, None], np.arange(64) * 4 - 126
MIDDLE_MM = 105
WHOLE_MM = 210
"""From the neck to above the crown, which lies at 190 mm times the person's size."""


def round_head(size: float, above_mm: float = 0, below_mm: float = 0) -> NDArray[np.bool_]:
    """A head with nose and neck, cut at both ends, [z, y, x]."""
    z = np.arange(below_mm, WHOLE_MM - above_mm, SPACING_MM[0])[:, None, None] / size
    head = (COLUMNS_MM / (76 * size)) ** 2 + (ROWS_MM / (95 * size)) ** 2
    inside = head + ((z - MIDDLE_MM) / 85) ** 2 < 1
    neck = (np.hypot(COLUMNS_MM, ROWS_MM - 20) < 55 * size) & (z < 80)
    front = (np.abs(COLUMNS_MM) < 14) & (ROWS_MM < 0) & (-112 * size < ROWS_MM)
    return inside | neck | (front & (np.abs(z - 85) < 20))


def write_round_heads(
    path: Path, cuts: Sequence[tuple[float, float]], *, seed: int = 0, split: Split = "train"
) -> None:
    """Write an MRI and a CT of other people for each cut (mm above, mm below), without an index."""
    create_store(path, spacing_mm=SPACING_MM, size=(64, 64), settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(seed)
    for cut in cuts:
        for modality in MODALITIES:
            body = round_head(random.normal(1, 0.02), *cut)
            values = np.where(body, 40 + 10 * random.standard_normal(body.shape), -1000)
            head = {"ct": values.astype(np.int16), "body": body}
            head["mri"] = np.where(body, 400 + values, 0).astype(np.int16)
            subject = random.bytes(8).hex()
            write_volume(path, prepared(modality, subject, split, head, SPACING_MM))
