"""Quick scores and one picture of the val split while a run goes on, through infer and scores.

It knows nothing of steps, checkpoints or logs: any two callables and a store will do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cyclegan.config.config import Config
from cyclegan.errors import DataError
from cyclegan.inference.cycle import BothWays, linked_ct
from cyclegan.inference.slices import Network
from cyclegan.metrics.paired_scores import paired_scores
from cyclegan.metrics.selection_score import selection_score, train_ct_population
from cyclegan.metrics.unpaired_scores import (
    Population,
    bone_depth_mismatch,
    cycle_scores,
    hu_distance,
    place_distances,
    pooled,
    population_of,
)
from cyclegan.train.validation_figure import panel, tiles_of
from data_prep.datasets.split import Split
from data_prep.store.store import Store, StoredVolume
from mrct.drawing.slices import Picture
from mrct.imaging.volume import MODALITIES, Modality


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one volume of the split told; small, so that workers can hand it on."""

    modality: Modality
    number: int
    """Place in the order in which volumes are looked at."""
    scores: dict[str, float]
    synthetic: Population | None
    """Of an MRI's synthetic CT."""
    tiles: list[Picture]
    """Of the first volume of a modality."""


def validation_scores(
    to_ct: Network,
    to_mri: Network,
    store: Store,
    config: Config,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Scores named `val/...`, all finite, and a picture [rows, columns, 3].

    Scores with a real CT beside (`mae_hu`, `psnr_db`, `ssim`, `bone_dice`) are there where the
    split has pairs. `hu_distance`, `bone_depth_mismatch`, the two by place and `selection` compare
    the synthetic CTs with real CTs of the train split. The picture shows the first volume of each
    modality, paired ones before others, there and back (`validation_figure.py`).

    Raises:
        DataError: The split has no MRI, or the train split no CT.
    """
    found = findings(to_ct, to_mri, store, config, split, device=device)
    assert found is not None
    return summed_up(found, store, config)


def findings(
    to_ct: Network,
    to_mri: Network,
    store: Store,
    config: Config,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    batch_size: int = 8,
    give_up: Callable[[], bool] = lambda: False,
) -> list[Finding] | None:
    """One worker's share of the volumes, (rank, workers): every so many-th of them. None where it
    was to `give_up` between two of them."""
    require_mri(store, split)
    networks = BothWays.trained((to_ct, to_mri), config.data, device, batch_size)
    looked_at = [
        (number, volume)
        for modality in MODALITIES
        for number, volume in enumerate(chosen(store, modality, split, config))
    ]
    rank, workers = share
    found: list[Finding] = []
    for number, volume in looked_at[rank::workers]:
        if found and give_up():
            return None
        found.append(finding(networks, store, volume, number))
    return found


def chosen(
    store: Store, modality: Modality, split: Split, config: Config
) -> Sequence[StoredVolume]:
    """The volumes that a validation looks at: paired ones first, as many as the config says."""
    volumes = store.select(modality, split).linked_first()
    return volumes[: config.schedule.validate_volumes or None]


def finding(networks: BothWays, store: Store, volume: StoredVolume, number: int) -> Finding:
    """Translate a volume there and back, and score it."""
    cycle = networks.cycle(store, volume)
    of_mri = volume.modality == "mri"
    real = linked_ct(store, volume) if of_mri else None
    scores = {
        f"{name}_{volume.modality}": score
        for name, score in cycle_scores(*cycle.compared()).items()
    }
    if real and real[1].any():  # a pair whose scans show no common part says nothing
        scores |= paired_scores(cycle.translated, *real)
    return Finding(
        modality=volume.modality,
        number=number,
        scores=scores,
        synthetic=population_of(cycle.translated, cycle.body, store.spacing_mm) if of_mri else None,
        tiles=[] if number else tiles_of(cycle, store.spacing_mm[1:], real[0] if real else None),
    )


def summed_up(
    found: Iterable[Finding], store: Store, config: Config
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Scores and picture of all volumes, the same however many workers looked at them."""
    in_order = sorted(found, key=lambda each: (each.modality == "ct", each.number))
    values: dict[str, list[float]] = defaultdict(list)
    for each in in_order:
        for name, score in each.scores.items():
            values[name].append(score)
    scores = {name: float(np.mean(each)) for name, each in values.items()}
    synthetic_cts = pooled(each.synthetic for each in in_order if each.synthetic)
    real_cts = train_ct_population(store, config.schedule.validate_volumes or None)
    cycles = [scores[f"cycle_ssim_{m}"] for m in MODALITIES if f"cycle_ssim_{m}" in scores]
    scores["hu_distance"] = hu_distance(synthetic_cts, real_cts)
    scores["bone_depth_mismatch"] = bone_depth_mismatch(synthetic_cts, real_cts)
    scores |= place_distances(synthetic_cts, real_cts)
    scores["selection"] = selection_score(synthetic_cts, real_cts, float(np.mean(cycles)))
    rows = [each.tiles for each in in_order if each.tiles]
    named = {f"val/{name}": score for name, score in scores.items()}
    return named, panel(rows)


def require_mri(store: Store, split: Split = "val") -> None:
    """Refuse a store on which no checkpoint could be judged, before a run starts."""
    if not store.select("mri", split):
        raise DataError(
            f"the split {split} of {store.path} has no MRI, so no synthetic CT can be judged and "
            "no best checkpoint chosen. Give some subjects that split in the manifest and convert "
            "again; `python -m data_prep describe` shows the splits."
        )
