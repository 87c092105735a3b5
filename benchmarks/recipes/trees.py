"""Boosted trees on true pairs: how much of a CT can be known from its MRI, so how hard a cohort is.

Needs scikit-learn, in an environment that has the project too:

    python -m venv trees && trees/bin/pip install scikit-learn -e .
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.positions import positions_of
from cyclegan.inference.cycle import partner_ct
from cyclegan.nets.guide import POSITION_BINS
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.hounsfield import AIR_HU

PATCH = 3
"""Pixels on each side: 7 x 7."""
FAR = (6, 10)
"""Distances in pixels of eight more values each."""
NEAR_SLICES = (-2, -1, 1, 2)
NUM_TREES, NUM_LEAVES = 120, 63
SHARE_KEPT = 0.4
"""Of the voxels of each pair."""


def features_of(store: Store, mri: StoredVolume) -> NDArray[np.float32]:
    """[body voxels, features]: MRI over its median in the body, around each voxel, and its
    position."""
    body = store.body(mri) > 0
    image = store.voxels(mri).astype(np.float32)
    image /= np.median(image[body])
    image[~body] = 0
    return np.stack([*_shifted(image, body), *_position(store, body, mri)], axis=1).astype(
        np.float32
    )


def _shifted(image: NDArray[np.float32], body: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
    z, y, x = np.nonzero(body)
    reach = max(FAR)
    padded = np.pad(image, ((2, 2), (reach, reach), (reach, reach)))
    around, sides = range(-PATCH, PATCH + 1), (-1, 0, 1)
    steps = [(0, dy, dx) for dy in around for dx in around]
    steps += [(dz, 0, 0) for dz in NEAR_SLICES]
    steps += [(0, dy * far, dx * far) for far in FAR for dy in sides for dx in sides if dy or dx]
    for dz, dy, dx in steps:
        yield padded[z + 2 + dz, y + reach + dy, x + reach + dx]


def _position(
    store: Store, body: NDArray[np.bool_], mri: StoredVolume
) -> Iterator[NDArray[np.intp]]:
    positions = positions_of(body, mri.height, store.spacing_mm[1:])
    yield from np.unravel_index(positions, POSITION_BINS)


def fit_trees(store: Store) -> Callable[[StoredVolume], NDArray[np.float32]]:
    """Fit on the pairs of the val split; return the translation of an MRI to HU."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    random, inputs, targets = np.random.default_rng(0), [], []
    for mri in store.select("mri", "val"):
        real = partner_ct(store, mri)
        assert real is not None
        body = store.body(mri) > 0
        kept = real[1][body] & (random.random(int(body.sum())) < SHARE_KEPT)
        inputs.append(features_of(store, mri)[kept])
        targets.append(real[0][body][kept])
    trees = HistGradientBoostingRegressor(
        max_iter=NUM_TREES, max_leaf_nodes=NUM_LEAVES, early_stopping=False, random_state=0
    )
    trees.fit(np.concatenate(inputs), np.concatenate(targets))

    def translate(mri: StoredVolume) -> NDArray[np.float32]:
        hu = np.full(mri.shape, AIR_HU, np.float32)
        hu[store.body(mri) > 0] = trees.predict(features_of(store, mri))
        return hu

    return translate
