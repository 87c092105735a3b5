"""What the paired truth of held-out heads says; training and selection see none of it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from benchmarks.recipes.pace import DEVICE
from benchmarks.recipes.table import FLOOR
from cyclegan.atlas.atlas import train_atlas
from cyclegan.atlas.patient_scores import patient_scores
from cyclegan.config.config import Config
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.evaluate.baseline_scores import train_skulls
from cyclegan.evaluate.score_table import (
    ATLAS_MEAN,
    ATLAS_MEDIAN,
    CONTRAST_TABLE,
    HISTOGRAM,
    SOFT_TISSUE,
)
from cyclegan.inference.cycle import CycleNetworks, partner_ct
from cyclegan.inference.slices import Network, to_input
from cyclegan.metrics.baselines import constant_soft_tissue, match_histogram, regression_of
from cyclegan.metrics.paired_scores import air_mae_hu, bias_hu, paired_scores, tissue_mae_hu
from cyclegan.metrics.selection_score import train_ct_statistics
from cyclegan.metrics.skull_thickness import SkullRays, thickness_mismatch_mm
from cyclegan.train.checkpoint.checkpoint import load_generators
from data_prep.readers.nifti import read_nifti
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.body_mask import body_mask
from mrct.storage.paths import StoragePath

HEIGHTS = (0.25, 0.42, 0.6, 0.78)
"""Heights in the body of the slices that every run is pictured at: jaws, orbits, brain, vertex."""
Subjects = list[dict[str, float]]


def test_heads(store: Store) -> list[StoredVolume]:
    """The MRIs of the test split with a real CT, in an order that a store's key does not decide."""
    volumes = [volume for volume in store.select("mri", "test") if volume.link]
    return sorted(volumes, key=lambda volume: float(np.abs(volume.affine).sum()))


def judge(
    checkpoint: StoragePath, config: Config, store: Store
) -> tuple[Subjects, NDArray[np.int16]]:
    """Scores of each test head, and the pictured slices [heads x heights, H, W] in HU."""
    to_ct, to_mri = load_generators(checkpoint, config)
    return judge_networks(to_ct.to(DEVICE), to_mri.to(DEVICE), config, store)


def judge_networks(
    to_ct: Network, to_mri: Network, config: Config, store: Store
) -> tuple[Subjects, NDArray[np.int16]]:
    """The same of any networks."""
    networks = CycleNetworks(
        to_ct=to_ct,
        to_mri=to_mri,
        contrast=config.data.mri_contrast,
        device=DEVICE,
        neighbours=config.data.neighbours,
        conditions=config.data.conditions,
    )
    subjects, slices = [], []
    for volume in test_heads(store):
        _, hu = networks.translated(store.voxels(volume), store.body(volume), volume)
        subjects.append(scores_of(hu, volume, store))
        slices.append(shown_slices(hu, volume))
    return subjects, np.concatenate(slices).round().astype(np.int16)


def scores_of(hu: NDArray[Any], volume: StoredVolume, store: Store) -> dict[str, float]:
    """One head's: masked MAE, PSNR, SSIM, bone Dice, bias, MAE by tissue, skill and r against the
    atlas of the train split, and its skull against those of the train split."""
    real = partner_ct(store, volume)
    assert real is not None
    body = store.body(volume)
    mean, median = train_atlas(store).both(body, volume.height)
    skull = SkullRays.of(body, volume.height, store.spacing_mm).thickness(hu)
    mismatch = thickness_mismatch_mm(skull, train_skulls(store))
    assert mismatch is not None
    return (
        paired_scores(hu, *real)
        | tissue_mae_hu(hu, *real)
        | air_mae_hu(hu, *real)
        | {"bias_hu": bias_hu(hu, *real), "skull_mismatch_mm": mismatch}
        | patient_scores(hu, *real, mean=mean, median=median)
    )


def mean_of(subjects: Subjects) -> dict[str, float]:
    """The mean of each score over the heads that have it."""
    names = {name: None for each in subjects for name in each}
    return {
        name: round(float(np.mean([each[name] for each in subjects if name in each])), 4)
        for name in names
    }


def shown_slices(hu: NDArray[Any], volume: StoredVolume) -> NDArray[Any]:
    """The slices nearest to HEIGHTS."""
    return hu[[int(np.abs(volume.height - height).argmin()) for height in HEIGHTS]]


def truth(store: Store) -> dict[str, NDArray[Any]]:
    """What `judge`'s slices are of: `mri` in [-1, 1] and `ct` in HU, [heads x heights, H, W]."""
    mri, ct = [], []
    for volume in test_heads(store):
        voxels, body = store.voxels(volume), store.body(volume)
        images = to_input(voxels, body, volume.window, "mri", "plain")[:, 0].numpy()
        real = partner_ct(store, volume)
        assert real is not None
        mri.append(shown_slices(images, volume))
        ct.append(shown_slices(np.where(real[1], real[0], -1024), volume))
    return {"mri": np.concatenate(mri), "ct": np.concatenate(ct)}


def baselines(store: Store, cohort: Path) -> dict[str, Subjects]:
    """What needs no network, the atlas among it, what one intensity curve fitted on val pairs
    reaches, and the grid's floor: the true CT sampled on the store's grid and back on its own,
    compared there."""
    population = train_ct_statistics(store)
    fits = []
    for volume in store.select("mri", "val"):
        if real := partner_ct(store, volume):
            images = to_input(
                store.voxels(volume), store.body(volume), volume.window, "mri", "plain"
            )
            fits.append(regression_of(images[:, 0].numpy(), *real))
    regression = sum(fits[1:], start=fits[0])
    found: dict[str, Subjects] = {
        name: []
        for name in (
            SOFT_TISSUE,
            HISTOGRAM,
            "intensity regression (pairs)",
            ATLAS_MEAN,
            ATLAS_MEDIAN,
            CONTRAST_TABLE,
        )
    }
    for volume in test_heads(store):
        voxels, body = store.voxels(volume), store.body(volume)
        images = to_input(voxels, body, volume.window, "mri", "plain")[:, 0].numpy()
        made = (
            constant_soft_tissue(body),
            match_histogram(voxels, body, population),
            regression.predict(images, body),
            *train_atlas(store).both(body, volume.height),
            table_of(store).synthetic_ct(voxels, body, volume.height),
        )
        for subjects, hu in zip(found.values(), made, strict=True):
            subjects.append(scores_of(hu, volume, store))
    return found | {FLOOR: [floor(v, store, cohort) for v in truths(store)]}


@lru_cache(maxsize=1)
def table_of(store: Store) -> ContrastTable:
    """The contrast table of the train split."""
    return fit_train_table(store, workers=0).table


def truths(store: Store) -> list[StoredVolume]:
    """The test split's CTs."""
    return list(store.select("ct", "test"))


def floor(ct: StoredVolume, store: Store, cohort: Path) -> dict[str, float]:
    """Scores of a real CT that went through the store's grid, on the grid of its own file."""
    files = (
        read_nifti(path, modality="ct", pseudonym="")
        for path in sorted((cohort / "ct").glob("*.nii.gz"))
    )
    source = next(f for f in files if matches(f.affine, ct))
    z, y, x = np.meshgrid(*(np.arange(n) for n in source.voxels.shape), indexing="ij")
    way = np.linalg.inv(ct.affine) @ source.affine
    # places: stored (z, y, x) of each source voxel; affines go (x, y, z)
    places = [
        way[row, 0] * x + way[row, 1] * y + way[row, 2] * z + way[row, 3] for row in (2, 1, 0)
    ]
    there = map_coordinates(store.voxels(ct).astype(np.float32), places, order=1, cval=-1024)
    real = source.voxels.astype(np.float32)
    body = body_mask(real, "ct", spacing_mm=source.spacing_mm)
    hu = np.where(body, there, -1024)
    return paired_scores(hu, real, body) | tissue_mae_hu(hu, real, body)


def matches(affine: NDArray[Any], ct: StoredVolume) -> bool:
    """Whether a file's affine is the stored volume's source, up to the order of its axes."""
    sides = (np.sort(np.linalg.norm(a[:3, :3], axis=0)) for a in (affine, ct.source_affine))
    return bool(np.allclose(*sides, atol=1e-4))
