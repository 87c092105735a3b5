"""A store with one pair whose MRI and CT disagree on where the body ends, as real ones do."""

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

from data_prep.datasets.split import Split
from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from tests.support.stores import SPACING_MM, prepared, random_head


def disagreeing_pair(path: Path, split: Split) -> Store:
    """The CT's mask lacks the MRI's outermost voxels. A CT of the train split is there too."""
    shape = (4, 32, 32)
    random = np.random.default_rng(4)
    create_store(path, spacing_mm=SPACING_MM, size=shape[1:], settings={"window_hu": WINDOW_HU})
    head = random_head(random, shape)
    smaller = head | {"body": binary_erosion(head["body"])}
    write_volume(path, prepared("mri", "a" * 16, split, head, SPACING_MM, link="ct"))
    write_volume(path, prepared("ct", "a" * 16, split, smaller, SPACING_MM, link="mri"))
    write_volume(path, prepared("ct", "b" * 16, "train", random_head(random, shape), SPACING_MM))
    rebuild_index(path)
    return open_store(path)
