"""Small stores for tests: noisy ellipsoid heads with a skull, written as real volumes are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from data_prep.datasets.split import Split
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import PreparedVolume, create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import robust_window
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid

SPACING_MM = (3.0, 2.0, 2.0)


def make_store(
    path: Path,
    *,
    mri: int = 3,
    ct: int = 2,
    shape: tuple[int, int, int] = (6, 64, 64),
    seed: int = 0,
    paired: int = 0,
    splits: Sequence[Split] = ("train",),
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    flat: Sequence[int] = (),
    bare: Sequence[int] = (),
    kind: str = "unknown",
) -> Store:
    """Write `mri` + `ct` unpaired volumes and `paired` linked pairs of random heads.

    `splits` is dealt out in turn within each kind: mri, ct, pairs. So ("train", "val") makes
    volumes 0, 2, ... train and 1, 3, ... val; for pairs the last entry alone counts. All are of one
    `kind`. The slices
    `flat` of every unpaired volume are of one value, though said to be body; its slices `bare` hold
    no body.
    """
    create_store(path, spacing_mm=spacing_mm, size=shape[1:], settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(seed)
    kinds: list[tuple[Modality, int]] = [("mri", mri), ("ct", ct)]
    for modality, count in kinds:
        for number in range(count):
            head = random_head(random, shape)
            for z in flat:
                head[modality][z], head["body"][z] = 40, True
            head["body"][list(bare)] = False
            split = splits[number % len(splits)]
            subject = f"{random.bytes(8).hex()}"
            volume = prepared(modality, subject, split, head, spacing_mm)
            write_volume(path, replace(volume, kind=kind))
    for _ in range(paired):
        head, subject = random_head(random, shape), random.bytes(8).hex()
        for modality, other in (("mri", "ct"), ("ct", "mri")):
            volume = prepared(modality, subject, splits[-1], head, spacing_mm, link=other)
            write_volume(path, replace(volume, kind=kind))
    rebuild_index(path)
    return open_store(path)


def make_small_store(path: Path) -> Store:
    """Two training volumes of each kind and one pair to validate on, for runs of seconds."""
    return make_store(
        path, mri=2, ct=2, paired=1, splits=("train", "train", "val"), shape=(4, 32, 32)
    )


def random_head(random: np.random.Generator, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """MRI magnitudes, CT in HU and the body mask of one ellipsoid: fat, skull, brain, a cavity."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radii = random.uniform(0.65, 0.85, 2)
    centre = random.uniform(-0.1, 0.1, 2)
    depth = np.sqrt(
        (z / 1.6) ** 2 + ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
    )
    texture = ndimage.gaussian_filter(random.standard_normal(shape), (1, 2, 2)) * 4
    cavity = np.hypot((y + 0.4) / 0.15, x / 0.1) < 1
    layers = [depth >= 1, depth < 1, depth < 0.9, depth < 0.78, cavity]
    mri = np.select(layers[::-1], [0, 500 + 60 * texture, 60, 900, 0])
    ct = np.select(layers[::-1], [-950, 35 + 15 * texture, 1200, -90, -1000])
    noise = random.standard_normal(shape)
    return {
        "mri": np.abs(mri + 15 * noise).astype(np.int16),
        "ct": (ct + 12 * noise).clip(*WINDOW_HU).astype(np.int16),
        "body": depth < 1,
    }


def prepared(
    modality: Modality,
    subject: str,
    split: Split,
    head: dict[str, np.ndarray],
    spacing_mm: tuple[float, float, float],
    link: Modality | None = None,
) -> PreparedVolume:
    """One modality of a head, as `convert` would hand it to the writer."""
    dz, dy, dx = spacing_mm
    affine = np.array([[-dx, 0, 0, 90], [0, -dy, 0, 90], [0, 0, dz, -20], [0, 0, 0, 1.0]])
    z, y, x = head[modality].shape
    return PreparedVolume(
        modality=modality,
        pseudonym=subject,
        subject=subject,
        split=split,
        link=f"{link}/{subject}" if link else None,
        source_sha256="0" * 64,
        preprocessed=PreprocessedVolume(
            voxels=head[modality],
            body=head["body"],
            affine=affine,
            # Not empty though half of a body is 0: `convert` refuses that, a crafted store may not.
            window=WINDOW_HU
            if modality == "ct"
            else robust_window(head["mri"].clip(1), head["body"]),
            scale=1.0,
            source=Grid(shape=(z, y, x), affine=affine),
        ),
    )
