"""Quick scores and one picture of the val split while a run goes on, through infer and scores.

It knows nothing of steps, checkpoints or logs: any two callables and a store will do.
"""

from collections import defaultdict
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from cyclegan.config import Config
from cyclegan.errors import DataError
from cyclegan.infer.cycle import BothWays, Cycle
from cyclegan.infer.pairs import linked_ct
from cyclegan.infer.slices import Network
from cyclegan.scores.metrics import paired_scores
from cyclegan.scores.selection import selection_score
from cyclegan.scores.unpaired import (
    Population,
    bone_depth_mismatch,
    cycle_scores,
    hu_distance,
    pooled,
    population_of,
)
from data_prep.intensity import WINDOW_HU, Window, denormalise, normalise
from data_prep.split import Split
from data_prep.store import Store

SELECTION = "val/selection"
"""The score that the best checkpoint is chosen by; lower is better, no pair needed."""
NUM_VOLUMES = 4
"""Volumes of each modality looked at: enough to rank checkpoints, few enough to wait for."""
BONE_WINDOW_HU: Window = (-450.0, 1050.0)
HEIGHT = 0.6
"""Relative height of the pictured slice: above the orbits, through the ventricles."""


def validation_scores(
    to_ct: Network,
    to_mri: Network,
    store: Store,
    config: Config,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    num_volumes: int | None = NUM_VOLUMES,
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Scores named `val/...`, all finite, and a picture [rows, columns, 3].

    Of each modality the first `num_volumes` are looked at; None: all.

    Scores with a real CT beside (`mae_hu`, `psnr_db`, `ssim`, `bone_dice`) are there where the
    split has pairs. `hu_distance`, `bone_depth_mismatch` and `selection` compare the synthetic CTs
    with real CTs of the train split. The picture shows MRI | synthetic CT | returned MRI above
    CT | synthetic MRI | returned CT, each CT in the bone window [-450, 1050] HU.

    Raises:
        DataError: The split has no MRI, or the train split no CT.
    """
    require_mri(store, split)
    networks = BothWays(
        to_ct=to_ct,
        to_mri=to_mri,
        contrast=config.data.mri_contrast,
        device=device,
        batch_size=batch_size,
        neighbours=config.data.neighbours,
        conditions=config.data.conditions,
    )
    values: dict[str, list[float]] = defaultdict(list)
    synthetic: list[Population] = []
    rows: list[NDArray[np.uint8]] = []
    for modality in ("mri", "ct"):
        volumes = sorted(store.select(modality, split), key=lambda volume: volume.link is None)
        for number, volume in enumerate(volumes[:num_volumes]):
            cycle = networks.cycle(store, volume)
            if number == 0:
                rows.append(picture_row(cycle))
            for name, score in cycle_scores(*cycle.compared()).items():
                values[f"{name}_{modality}"].append(score)
            if modality == "mri":
                synthetic.append(population_of(cycle.translated, cycle.body, store.spacing_mm))
                if real := linked_ct(store, volume):
                    for name, score in paired_scores(cycle.translated, *real).items():
                        values[name].append(score)
    scores = {name: float(np.mean(each)) for name, each in values.items()}
    real_cts, synthetic_cts = train_ct_population(store, NUM_VOLUMES), pooled(synthetic)
    cycles = [scores[f"cycle_ssim_{m}"] for m in ("mri", "ct") if f"cycle_ssim_{m}" in scores]
    scores["hu_distance"] = hu_distance(synthetic_cts, real_cts)
    scores["bone_depth_mismatch"] = bone_depth_mismatch(synthetic_cts, real_cts)
    scores["selection"] = selection_score(synthetic_cts, real_cts, float(np.mean(cycles)))
    return {f"val/{name}": score for name, score in scores.items()}, np.concatenate(rows)


def require_mri(store: Store, split: Split = "val") -> None:
    """Refuse a store on which no checkpoint could be judged, before a run starts."""
    if not store.select("mri", split):
        raise DataError(
            f"the split {split} of {store.path} has no MRI, so no synthetic CT can be judged and "
            "no best checkpoint chosen. Give some subjects that split in the manifest and convert "
            "again; `python -m data_prep describe` shows the splits."
        )


@lru_cache(maxsize=2)
def train_ct_population(store: Store, num_volumes: int | None = None) -> Population:
    """What real CTs look like: the first `num_volumes` (or all) of the train split.

    Remembered for the store: a run asks again at every validation.
    """
    volumes = store.select("ct", "train")[:num_volumes]
    if not volumes:
        raise DataError(
            f"the train split of {store.path} has no CT, so there is nothing to compare synthetic "
            "CTs with. Convert again with CT volumes: python -m data_prep convert --ct DIR ..."
        )
    return pooled(
        population_of(store.voxels(volume), store.body(volume), store.spacing_mm)
        for volume in volumes
    )


def picture_row(cycle: Cycle) -> NDArray[np.uint8]:
    """Original | translated | returned at one height, [rows, 3 x columns, 3]."""
    assert cycle.returned is not None, "validation has both ways"
    z = int(np.abs(np.array(cycle.volume.height) - HEIGHT).argmin())
    original, translated, returned = (
        images[z] for images in (cycle.original, cycle.translated, cycle.returned)
    )
    if cycle.volume.modality == "mri":
        tiles = [original, normalise(translated, BONE_WINDOW_HU), returned]
    else:
        real, back = (
            normalise(denormalise(x, WINDOW_HU), BONE_WINDOW_HU) for x in (original, returned)
        )
        tiles = [real, 2 * translated - 1, back]
    # row: [H, 3 W] in [-1, 1]
    row = np.concatenate(tiles, axis=1)
    grey = np.rint((row + 1) * 127.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
