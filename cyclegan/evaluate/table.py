"""Scores as JSON, CSV and plain text. It computes nothing but means and standard deviations."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from cyclegan.evaluate.scorecard import (
    ALIGNED,
    CYCLE,
    DETAIL,
    MODALITIES,
    PAIRED,
    POPULATION,
    TRANSLATOR,
    UNPAIRED,
    Scores,
)
from cyclegan.scores.metrics import PROTOCOLS

LABELS = {
    "mae_hu": "MAE, HU ↓",
    "psnr_db": "PSNR, dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "bone_dice": "bone Dice ↑",
    "mae_air_hu": "MAE of air, HU ↓",
    "mae_soft_hu": "MAE of soft tissue, HU ↓",
    "mae_bone_hu": "MAE of bone, HU ↓",
    "bias_hu": "mean error, HU (0)",
    "bone_hd95_mm": "bone HD95, mm ↓",
    "hu_distance": "HU distance, HU ↓",
    "bone_depth_mismatch": "bone depth mismatch ↓",
    "roughness_ratio": "roughness along z (1)",
    "kernel_distance": "kernel distance ↓",
    "edge_agreement": "edge agreement ↑",
    "shape_dice": "outline Dice ↑",
    "selection": "selection score ↓",
    "cycle_ssim": "cycle SSIM ↑",
    "cycle_psnr_db": "cycle PSNR, dB ↑",
}
"""With the direction that is better."""
DIGITS = {
    "mae_hu": 1,
    "mae_air_hu": 1,
    "mae_soft_hu": 1,
    "mae_bone_hu": 1,
    "bias_hu": 1,
    "bone_hd95_mm": 1,
    "psnr_db": 2,
    "hu_distance": 1,
    "cycle_psnr_db": 2,
}
MISSING = "–"
SAME_DEFINITIONS = (
    "Bone Dice and HD95: voxels above 250 HU; HD95 is the larger of both directions' 95th "
    "percentile of surface distances. MAE by tissue: what the real CT shows, air below -200 HU, "
    "bone above 250 HU. Mean error: above 0 where the synthetic CT is too dense.",
    "Intervals: 95 % bootstrap of the mean over subjects, from three subjects on. p: two-sided "
    "sign-flip permutation test on the subjects' mean differences.",
    "HU distance (Wasserstein-1) and bone depth mismatch (Bray-Curtis of bone by distance below "
    "the surface, 1 is no agreement): all synthetic CTs of the split against the CTs of train.",
    "Roughness: how much more the synthetic CTs jump from slice to slice, relative to their own "
    "texture in plane, than real CTs; 1 is right. Kernel distance: squared maximum mean "
    "discrepancy of slices by their histograms of HU and of gradients; 0 is right.",
    "Edge agreement: rank correlation of gradient magnitudes of MRI and synthetic CT inside the "
    "body. Outline Dice: the synthetic CT's own body outline against the MRI's.",
    "Cycle SSIM and PSNR: MRI → CT → MRI and CT → MRI → CT on [-1, 1], data range 2, air outside "
    "the body, over the slices that show any body. A good cycle does not prove a good CT.",
    "Histogram matching uses the CTs of the train split, never the volume's own. Intensity "
    "regression, the mean HU at each MRI intensity, is fitted on the split's other pairs.",
    f"A pair is flagged as misaligned where the body outlines of MRI and CT have a Dice below "
    f"{ALIGNED}: its voxels do not show the same place.",
)


def definitions_of(scores: Scores) -> tuple[str, ...]:
    """What the numbers mean: grid, mask, HU range and source of each."""
    low, high = PROTOCOLS[scores.protocol].window_hu
    multiscale = (
        "MS-SSIM is SynthRAD2025's, whose luminance counts at every scale. "
        if PROTOCOLS[scores.protocol].multiscale
        else ""
    )
    return (
        "MAE, PSNR, SSIM and bone: on the store's grid, over the real CT's body mask within the "
        "MRI's field of view; outside it both are set to -1024 HU. Means over volumes, each volume "
        "counting once.",
        f"PSNR and SSIM as {scores.protocol}: clipped to [{low:.0f}, {high:.0f}] HU, range "
        f"{high - low:.0f} HU; SSIM with 7 x 7 x 7 uniform windows. {multiscale}"
        "MAE is not clipped.",
        *SAME_DEFINITIONS,
    )


def text_of(metric: str, value: float | None) -> str:
    """A score for people: as many digits as mean something."""
    return MISSING if value is None else f"{value:.{DIGITS.get(metric, 3)}f}"


def spread_of(scores: Scores, metric: str, method: str) -> str:
    """The interval of a mean for people, or ± the deviation where there are too few subjects."""
    interval = scores.interval(metric, method=method)
    if interval:
        return f"[{', '.join(text_of(metric, end) for end in interval)}]"
    sd = scores.sd(metric, method=method)
    return "" if sd is None else f"± {text_of(metric, sd)}"


def to_json(scores: Scores) -> dict[str, Any]:
    """Everything, in plain JSON values; what is unknown is left out."""
    return {
        "split": scores.split,
        "protocol": scores.protocol,
        "num_pairs": scores.num_pairs,
        "paired": {
            method: {
                metric: {
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values)),
                    "interval_95": scores.interval(metric, method=method),
                }
                for metric in (*PAIRED, *DETAIL)
                if (values := scores.of(metric, method=method))
            }
            for method in scores.methods
        },
        "comparisons": {
            rival: {
                metric: asdict(scores.compare(metric, rival))
                for metric in (*PAIRED, *DETAIL)
                if scores.of(metric, method=rival)
            }
            for rival in scores.rivals
        },
        "populations": scores.populations,
        "unpaired": {
            method: {
                metric: mean
                for metric in UNPAIRED
                if (mean := scores.mean(metric, method=method)) is not None
            }
            for method in (TRANSLATOR, *scores.rivals)
        },
        "cycle": {
            modality: {
                metric: mean
                for metric in CYCLE
                if (mean := scores.mean(metric, modality=modality)) is not None
            }
            for modality in MODALITIES
        },
        "volumes": [
            {
                "volume": row.volume,
                "subject": row.subject,
                "modality": row.modality,
                "method": row.method,
            }
            | row.values
            for row in scores.volumes
        ],
        "misaligned": scores.misaligned,
        "failed": list(scores.failed),
        "definitions": list(definitions_of(scores)),
    }


def to_csv(scores: Scores) -> str:
    """A line per volume and method, then one `mean` per modality and method; empty is unknown."""
    metrics = (*PAIRED, *DETAIL, *UNPAIRED, *CYCLE)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["volume", "subject", "modality", "method", *metrics])
    for row in scores.volumes:
        values = [row.values.get(metric, "") for metric in metrics]
        writer.writerow([row.volume, row.subject, row.modality, row.method, *values])
    for modality in MODALITIES:
        for method in scores.methods:
            means = [scores.mean(metric, method=method, modality=modality) for metric in metrics]
            if any(mean is not None for mean in means):
                writer.writerow(["mean", "", modality, method, *means])
    return file.getvalue()


def comparisons_of(scores: Scores) -> Iterator[str]:
    """A sentence per rival and headline score: the difference, its interval, and p."""
    for rival in scores.rivals:
        for metric in PAIRED:
            if scores.of(metric, method=rival):
                found = scores.compare(metric, rival)
                low, high = found.interval_95 or (None, None)
                ends = "" if low is None else f" [{text_of(metric, low)}, {text_of(metric, high)}]"
                p = "too few subjects for a test" if found.p is None else f"p {found.p:.3f}"
                yield (
                    f"{LABELS[metric]}: {TRANSLATOR} minus {rival} "
                    f"{text_of(metric, found.difference)}{ends}, {p}, {found.subjects} subjects"
                )


def to_text(scores: Scores) -> str:
    """The means as a table for a terminal."""
    metrics = (*PAIRED, *POPULATION[:2])
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
    tests = "".join(f"\n{line}" for line in comparisons_of(scores))
    return f"{table}{tests}\n{scores.split} split, {pairs}, masked to the body\n{cycles}"
