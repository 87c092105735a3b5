"""Scores as JSON, CSV and plain text. It computes nothing but means and standard deviations."""

import csv
import io
from typing import Any

import numpy as np

from cyclegan.evaluate.scorecard import CYCLE, MODALITIES, PAIRED, POPULATION, Scores

LABELS = {
    "mae_hu": "MAE, HU ↓",
    "psnr_db": "PSNR, dB ↑",
    "ssim": "SSIM ↑",
    "bone_dice": "bone Dice ↑",
    "hu_distance": "HU distance, HU ↓",
    "bone_depth_mismatch": "bone depth mismatch ↓",
    "selection": "selection score ↓",
    "cycle_ssim": "cycle SSIM ↑",
    "cycle_psnr_db": "cycle PSNR, dB ↑",
}
"""With the direction that is better."""
DIGITS = {"mae_hu": 1, "psnr_db": 2, "hu_distance": 1, "cycle_psnr_db": 2}
MISSING = "–"
DEFINITIONS = (
    "MAE, PSNR, SSIM and bone Dice: over the real CT's body mask within the MRI's field of view; "
    "outside it both are set to -1024 HU. Means over volumes, each volume counting once.",
    "PSNR and SSIM: clipped to [-1024, 3071] HU, range 4095 HU (SynthRAD2025); SSIM with 7 x 7 x 7 "
    "uniform windows (SynthRAD2023), single scale. MAE is not clipped.",
    "Bone Dice: voxels above 250 HU.",
    "HU distance (Wasserstein-1) and bone depth mismatch (Bray-Curtis of bone by distance below "
    "the surface, 1 is no agreement): all synthetic CTs of the split against the CTs of train.",
    "Cycle SSIM and PSNR: MRI → CT → MRI and CT → MRI → CT on [-1, 1], data range 2, air outside "
    "the body, over the slices that show any body. A good cycle does not prove a good CT.",
    "Histogram matching uses the CTs of the train split, never the volume's own.",
)


def text_of(metric: str, value: float | None) -> str:
    """A score for people: as many digits as mean something."""
    return MISSING if value is None else f"{value:.{DIGITS.get(metric, 3)}f}"


def to_json(scores: Scores) -> dict[str, Any]:
    """Everything, in plain JSON values; what is unknown is left out."""
    return {
        "split": scores.split,
        "num_pairs": scores.num_pairs,
        "paired": {
            method: {
                metric: {"mean": float(np.mean(values)), "sd": float(np.std(values))}
                for metric in PAIRED
                if (values := scores.of(metric, method=method))
            }
            for method in scores.methods
        },
        "populations": scores.populations,
        "cycle": {
            modality: {
                metric: mean
                for metric in CYCLE
                if (mean := scores.mean(metric, modality=modality)) is not None
            }
            for modality in MODALITIES
        },
        "volumes": [
            {"volume": row.volume, "modality": row.modality, "method": row.method} | row.values
            for row in scores.volumes
        ],
        "failed": list(scores.failed),
        "definitions": list(DEFINITIONS),
    }


def to_csv(scores: Scores) -> str:
    """A line per volume and method, then one `mean` per modality and method; empty is unknown."""
    metrics = (*PAIRED, *CYCLE)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["volume", "modality", "method", *metrics])
    for row in scores.volumes:
        values = [row.values.get(metric, "") for metric in metrics]
        writer.writerow([row.volume, row.modality, row.method, *values])
    for modality in MODALITIES:
        for method in scores.methods:
            means = [scores.mean(metric, method=method, modality=modality) for metric in metrics]
            if any(mean is not None for mean in means):
                writer.writerow(["mean", modality, method, *means])
    return file.getvalue()


def to_text(scores: Scores) -> str:
    """The means as a table for a terminal."""
    metrics = (*PAIRED, *POPULATION)
    lines = [["", *(LABELS[metric] for metric in metrics)]]
    for method in scores.methods:
        population = scores.populations.get(method, {})
        values = [
            scores.mean(metric, method=method) if metric in PAIRED else population.get(metric)
            for metric in metrics
        ]
        lines.append([method, *map(text_of, metrics, values)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )
    cycles = "; ".join(
        f"{modality.upper()} "
        + ", ".join(
            f"{LABELS[metric]} {text_of(metric, scores.mean(metric, modality=modality))}"
            for metric in CYCLE
        )
        for modality in MODALITIES
    )
    pairs = f"{scores.num_pairs} pairs" if scores.num_pairs else "no pair with a real CT"
    return f"{table}\n{scores.split} split, {pairs}, masked to the body\n{cycles}"
