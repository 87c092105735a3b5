"""Companions for tests: random HU and weights, written as those of real warps are."""

from collections.abc import Sequence

import numpy as np

from data_prep.store.companions.cache import put_group
from data_prep.store.companions.group import EncodedGroup, Kind, SourceVolume, encode_group
from data_prep.store.store import Store

MADE_FROM = {"kind": "warped", "table": "0" * 64, "settings": {"sigma": 1.0}}


def random_group(
    store: Store,
    mri: str,
    cts: Sequence[str],
    *,
    seed: int = 0,
    kind: Kind = "warped",
    made_from: dict[str, object] = MADE_FROM,
) -> EncodedGroup:
    """Companions of an MRI from some CTs, of random voxels."""
    volume = store.volumes.named(mri)
    assert volume is not None
    random = np.random.default_rng(seed)
    shape = (len(cts), *volume.shape)
    return encode_group(
        kind=kind,
        mri=SourceVolume.of(store.path, mri),
        cts=[SourceVolume.of(store.path, name) for name in cts],
        hu=random.integers(-1024, 1500, shape).astype(np.int16),
        weight=random.integers(0, 256, shape).astype(np.uint8),
        quality=random.random(len(cts)).tolist(),
        made_from=made_from,
    )


def add_companions(store: Store, mri: str, cts: Sequence[str], *, seed: int = 0) -> None:
    """Write companions of an MRI from some CTs."""
    assert put_group(store.path, random_group(store, mri, cts, seed=seed))
