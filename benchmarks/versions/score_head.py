"""Scores one head with the version that is on the path, and prints what it found as JSON.

`benchmarks.scoring` runs this file on both of its sides. It calls only what validation and
evaluation call of `cyclegan.metrics`, by names that the versions share.

    python score_head.py ARRAYS.npz KIND
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cyclegan.metrics.paired_scores import all_paired_scores, height_mae_hu, paired_scores
from cyclegan.metrics.selection_score import selection_score
from cyclegan.metrics.structural_agreement import edge_agreement, outline_agreement
from cyclegan.metrics.texture import kernel_distance, roughness_ratio
from cyclegan.metrics.unpaired_scores import (
    CtStatistics,
    bone_depth_mismatch,
    ct_statistics_of,
    cycle_scores,
    hu_distance,
    region_distances,
    tissue_distances,
)

SPACING_MM = (1.0, 1.0, 1.0)
Scores = dict[str, float]


def validate_ct(head: Any) -> tuple[Scores, None]:
    """What validation computes of a CT that went to MRI and back."""
    images = (torch.from_numpy(head[name][:, None]) for name in ("original", "returned"))
    return cycle_scores(*images), None


def validate_mri(head: Any) -> tuple[Scores, CtStatistics]:
    """What validation computes of an MRI with a real CT."""
    scores = validate_ct(head)[0]
    scores |= paired_scores(head["synthetic"], head["ct"], head["body"])
    return scores, ct_statistics_of(head["synthetic"], head["body"], SPACING_MM)


def evaluate_mri(head: Any) -> tuple[Scores, CtStatistics]:
    """What evaluation computes of one method."""
    pair = head["synthetic"], head["ct"], head["body"]
    scores = validate_ct(head)[0] | all_paired_scores(*pair, spacing_mm=SPACING_MM)
    scores |= {f"mae_hu_{i}": mae or 0.0 for i, mae in enumerate(height_mae_hu(*pair))}
    scores["edges"] = edge_agreement(head["original"], head["synthetic"], head["body"])
    scores["outline"] = outline_agreement(head["synthetic"], head["body"], SPACING_MM)
    return scores, ct_statistics_of(head["synthetic"], head["body"], SPACING_MM)


def population_scores(ours: CtStatistics, real: CtStatistics) -> Scores:
    """What follows from the summaries of two populations; here of one head each."""
    return {
        "hu_distance": hu_distance(ours, real),
        **tissue_distances(ours, real),
        **region_distances(ours, real),
        "bone_depth_mismatch": bone_depth_mismatch(ours, real),
        "selection": selection_score(ours, real, 0.9),
        "roughness": roughness_ratio(ours.roughness, real.roughness),
        "kernel": kernel_distance(ours.features, real.features) or 0.0,
    }


KINDS: dict[str, Callable[[Any], tuple[Scores, CtStatistics | None]]] = {
    "validate-mri": validate_mri,
    "validate-ct": validate_ct,
    "evaluate-mri": evaluate_mri,
}


def main(arrays: str, kind: str) -> None:
    """Score, with the time and the memory of the scoring alone."""
    torch.set_num_threads(1)
    head = dict(np.load(arrays))
    small = {name: array[::4, ::4, ::4].copy() for name, array in head.items()}
    KINDS[kind](small)  # the first call imports and allocates
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    scores, summary = KINDS[kind](head)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if summary is not None:
        real = ct_statistics_of(head["ct"], head["body"], SPACING_MM)
        scores |= population_scores(summary, real)
    print(json.dumps({"seconds": seconds, "memory_gib": peak / 2**20, "scores": scores}))


if __name__ == "__main__":
    main(*sys.argv[1:])
