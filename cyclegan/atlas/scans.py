"""The training scans that an atlas or a contrast table is made of, one at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclegan.nets.input_channels import PixelSize
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.modality import Modality

Scan = tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], PixelSize]
"""Voxels and body mask [z, y, x], the height of each slice [z], and the pixels' size."""


def train_scans(store: Store, modality: Modality) -> Iterator[Scan]:
    """Read the volumes of the train split in the store's order; MRI as stored, CT in HU."""
    for volume in store.select(modality, "train"):
        yield scan_of(store, volume)


def scan_of(store: Store, volume: StoredVolume) -> Scan:
    """Read a volume: an MRI as stored, a CT in HU."""
    return store.voxels(volume), store.body(volume), volume.height, store.spacing_mm[1:]
