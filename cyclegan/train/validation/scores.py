"""Validation during training: quick scores and one image of the val split."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from cyclegan.config.config import Config
from cyclegan.errors import DataError, DivergedError
from cyclegan.inference.cycle import CycleNetworks, CycleResult, partner_ct
from cyclegan.inference.slices import Network
from cyclegan.metrics.paired_scores import paired_scores
from cyclegan.metrics.selection_score import selection_score, train_ct_statistics
from cyclegan.metrics.unpaired_scores import (
    CtStatistics,
    bone_depth_mismatch,
    ct_statistics_of,
    cycle_scores,
    hu_distance,
    pool_statistics,
    region_distances,
)
from cyclegan.train.validation.figure import (
    Pictures,
    plane_pictures,
    planes_of,
    tiles_of,
    validation_figure,
)
from cyclegan.train.validation.scorer import Scorer
from data_prep.datasets.split import Split
from data_prep.store.store import Store, StoredVolume
from mrct.drawing.slices import ImagePanel
from mrct.imaging.modality import MODALITIES, Modality


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatedVolume:
    """Result of one volume; small, so that workers can send it to each other."""

    modality: Modality
    number: int
    """Position among the validated volumes of its modality, from 0."""
    scores: dict[str, float]
    synthetic: CtStatistics | None
    """Summary of the synthetic CT of an MRI; None for a CT."""
    tiles: list[ImagePanel]
    """Images of the first volume of a modality; empty for the others."""
    planes: dict[str, list[ImagePanel]] = field(default_factory=dict)
    """Images of the first MRI by plane; empty for the others."""


def validation_scores(
    to_ct: Network,
    to_mri: Network,
    store: Store,
    config: Config,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, float], Pictures]:
    """Score a pair of generators on a split.

    Scores against a real CT (`mae_hu`, `psnr_db`, `ssim`, `bone_dice`) are included if the split
    has pairs. `hu_distance`, `bone_depth_mismatch`, the two scores by body region and `selection`
    compare the synthetic CTs with real CTs of the train split. The images show the first volume of
    each modality, paired volumes first (`figure.py`).

    Args:
        to_ct: Generator from MRI to CT, on `device`; any callable.
        to_mri: Generator from CT to MRI, on `device`; any callable.
        store: The store with the split's volumes.
        config: Configuration of the run that the generators belong to.
        split: Split to score.
        device: Device of the generators.

    Returns:
        Finite scores and images, all named `val/...`.

    Raises:
        DataError: The split has no MRI, or the train split no CT.
    """
    found = validate_volumes(to_ct, to_mri, store, config, Scorer(store), split, device=device)
    assert found is not None
    return summarise([each.result() for each in found], store, config)


def validate_volumes(
    to_ct: Network,
    to_mri: Network,
    store: Store,
    config: Config,
    scorer: Scorer,
    split: Split = "val",
    *,
    device: torch.device | str = "cpu",
    share: tuple[int, int] = (0, 1),
    batch_size: int = 8,
    give_up: Callable[[], bool] = lambda: False,
) -> list[Future[ValidatedVolume]] | None:
    """Translate one worker's share of the volumes, and let the scorer score them.

    Args:
        scorer: Scores them.
        share: (rank, workers): every `workers`-th volume, beginning with the one numbered `rank`.
        batch_size: Slices per forward.
        give_up: Asked between two volumes whether to cancel.

    Returns:
        One finding per volume, perhaps still to come; None if it was cancelled.

    Raises:
        DivergedError: A result is not finite.
    """
    require_mri(store, split)
    networks = CycleNetworks.trained((to_ct, to_mri), config.data, device, batch_size)
    looked_at = [
        (number, volume)
        for modality in MODALITIES
        for number, volume in enumerate(validation_volumes(store, modality, split, config))
    ]
    rank, workers = share
    found: list[Future[ValidatedVolume]] = []
    for number, volume in looked_at[rank::workers]:
        if found and give_up():
            return None
        cycle = networks.cycle(store, volume)
        require_finite(cycle)
        found.append(scorer.submit(partial(score_cycle, cycle, number)))
    return found


def validation_volumes(
    store: Store, modality: Modality, split: Split, config: Config
) -> Sequence[StoredVolume]:
    """Return the volumes to validate on: paired ones first, up to the configured number."""
    volumes = store.select(modality, split).linked_first()
    return volumes[: config.schedule.validate_volumes or None]


def require_finite(cycle: CycleResult) -> None:
    """Refuse a translation that is not finite.

    Raises:
        DivergedError: The running mean of the weights has diverged.
    """
    results = (each for each in (cycle.translated, cycle.returned) if each is not None)
    if not all(np.isfinite(each).all() for each in results):
        raise DivergedError(
            f"The run diverged: its networks do not translate {cycle.volume.name} to finite "
            "values. The newest checkpoint with a score is from before. Try a smaller "
            "--optimizer.learning-rate or --optimizer.clip-norm 1, in a new run: --run.name NAME."
        )


def score_cycle(cycle: CycleResult, number: int, store: Store) -> ValidatedVolume:
    """Score a volume that was translated and translated back."""
    volume = cycle.volume
    of_mri = volume.modality == "mri"
    partner = partner_ct(store, volume) if of_mri else None
    real = partner[0] if partner else None
    scores = {
        f"{name}_{volume.modality}": score
        for name, score in cycle_scores(*cycle.compared()).items()
    }
    if partner and partner[1].any():  # scans without a common field of view cannot be compared
        scores |= paired_scores(cycle.translated, *partner)
    return ValidatedVolume(
        modality=volume.modality,
        number=number,
        scores=scores,
        synthetic=ct_statistics_of(cycle.translated, cycle.body, store.spacing_mm, volume.height)
        if of_mri
        else None,
        tiles=[] if number else tiles_of(cycle, store.spacing_mm[1:], real),
        planes={} if number or not of_mri else planes_of(cycle, store.spacing_mm, real),
    )


def summarise(
    found: Iterable[ValidatedVolume], store: Store, config: Config
) -> tuple[dict[str, float], Pictures]:
    """Combine the findings of all volumes; the result does not depend on the number of workers.

    Returns:
        Scores and images, all named `val/...`.
    """
    in_order = sorted(found, key=lambda each: (each.modality == "ct", each.number))
    values: dict[str, list[float]] = defaultdict(list)
    for each in in_order:
        for name, score in each.scores.items():
            values[name].append(score)
    scores = {name: float(np.mean(each)) for name, each in values.items()}
    synthetic_cts = pool_statistics(each.synthetic for each in in_order if each.synthetic)
    real_cts = train_ct_statistics(store, config.schedule.validate_volumes or None)
    cycles = [scores[f"cycle_ssim_{m}"] for m in MODALITIES if f"cycle_ssim_{m}" in scores]
    scores["hu_distance"] = hu_distance(synthetic_cts, real_cts)
    scores["bone_depth_mismatch"] = bone_depth_mismatch(synthetic_cts, real_cts)
    scores |= region_distances(synthetic_cts, real_cts)
    scores["selection"] = selection_score(synthetic_cts, real_cts, float(np.mean(cycles)))
    rows = [each.tiles for each in in_order if each.tiles]
    named = {f"val/{name}": score for name, score in scores.items()}
    pictures = {"cycles": validation_figure(rows)}
    for each in in_order:
        pictures |= plane_pictures(each.planes)
    return named, {f"val/{name}": picture for name, picture in pictures.items()}


def require_mri(store: Store, split: Split = "val") -> None:
    """Refuse a store without MRI in a split: no checkpoint could be scored on it.

    Raises:
        DataError: The split has no MRI.
    """
    if not store.select("mri", split):
        subjects = len(set(store.volumes.texts("subject").tolist()))
        raise DataError(
            f"The split {split} of {store.path} has no MRI, so no synthetic CT can be scored and "
            f"no best checkpoint chosen. The store has {subjects} subject(s), and a split needs "
            "one. If that is fewer than there are people, several were taken for one: convert "
            "into a new --out with --subject-by study (or folder), or list them with --manifest. "
            "Otherwise add subjects, or give some of them that split (--split-file). "
            f"`python -m data_prep describe {store.path}` shows the splits."
        )
