"""Write scores as JSON, CSV and plain text.

`scores.schema.json` beside this file is the JSON's schema; docs/evaluation.md explains it.
"""

import csv
import io
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cyclegan.evaluate.report.baseline_wins import baseline_wins, sentences_of_wins
from cyclegan.evaluate.report.labels import (
    LABELS,
    NO_TRAIN_CTS,
    captions_of,
    comparisons_of,
    definitions_of,
    text_of,
)
from cyclegan.evaluate.score_table import (
    AGAINST_ATLAS,
    ALIGNMENT,
    CYCLE,
    DETAIL,
    PAIRED,
    POPULATION,
    UNPAIRED,
    Scores,
)
from cyclegan.inference.cycle import GENERATOR
from cyclegan.metrics.statistics import mean_interval
from mrct.imaging.modality import MODALITIES

SCORES_SCHEMA = 3
"""Version of the JSON: 2 had no atlas, skulls and baseline wins, 1 no version."""


def to_json(scores: Scores) -> dict[str, Any]:
    """Return all scores as plain JSON values, without unknown ones."""
    return {
        "schema": SCORES_SCHEMA,
        "split": scores.split,
        "protocol": scores.protocol,
        "grid": scores.grid,
        "num_pairs": scores.num_pairs,
        "num_subjects": scores.num_subjects,
        "cautions": scores.cautions,
        "paired": {
            method: {
                metric: {
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values)),
                    "interval_95": scores.interval(metric, method=method),
                }
                for metric in (*PAIRED, *DETAIL, *AGAINST_ATLAS)
                if (values := scores.of(metric, method=method))
            }
            for method in scores.methods
        },
        "baseline_wins": baseline_wins(scores),
        "mae_by_height_hu": {
            method: heights for method in scores.methods if (heights := scores.mean_heights(method))
        },
        "comparisons": {
            other: {
                metric: asdict(found)
                for metric in (*PAIRED, *DETAIL, *AGAINST_ATLAS)
                if (found := scores.compare(metric, other))
            }
            for other in scores.compared_models
        },
        "populations": scores.populations,
        "skulls": {
            name: {"mean_mm": skull.mean_mm, "closed": skull.closed}
            for name, skull in scores.skulls.items()
        },
        "unpaired": {
            method: {
                metric: mean
                for metric in UNPAIRED
                if (mean := scores.mean(metric, method=method)) is not None
            }
            for method in (GENERATOR, *scores.compared_models)
        },
        "cycle": {
            modality: {
                metric: mean
                for metric in CYCLE
                if (mean := scores.mean(metric, modality=modality)) is not None
            }
            for modality in MODALITIES
        },
        "segmenter": scores.segmenter,
        "structures": structures_of(scores),
        "registrations": None
        if scores.registrations is None
        else {name: asdict(each) for name, each in scores.registrations.items()},
        "volumes": [
            {
                "volume": row.volume,
                "subject": row.subject,
                "modality": row.modality,
                "method": row.method,
            }
            | row.values
            | ({"mae_by_height_hu": list(row.heights)} if row.heights else {})
            for row in scores.volumes
        ],
        "misaligned": scores.misaligned,
        "partly_seen": scores.partly_seen,
        "failed": list(scores.failed),
        "captions": captions_of(scores),
        "definitions": list(definitions_of(scores)),
    }


def structures_of(scores: Scores) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by method and structure, means of Dice and HD95 over volumes and the interval of
    Dice."""
    rows = defaultdict(list)
    for row in scores.structures:
        rows[row.method, row.structure].append(row)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (method, structure), those in sorted(rows.items()):
        overlaps = [row.dice for row in those]
        distances = [row.hd95_mm for row in those if row.hd95_mm is not None]
        found.setdefault(method, {})[structure] = {
            "volumes": len(those),
            "dice": float(np.mean(overlaps)),
            "dice_interval_95": mean_interval(overlaps, [row.subject for row in those]),
            "hd95_mm": float(np.mean(distances)) if distances else None,
        }
    return found


def to_csv(scores: Scores) -> str:
    """Return CSV with a line per volume and method, then one `mean` per modality and method;
    unknown values are empty."""
    metrics = (*PAIRED, *DETAIL, *AGAINST_ATLAS, *UNPAIRED, *CYCLE, *ALIGNMENT)
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


def to_text(scores: Scores) -> str:
    """Return the means as tables for a terminal, and what must be known beside them."""
    cycles = "; ".join(
        f"{modality.upper()} "
        + ", ".join(
            f"{LABELS[metric]} {text_of(metric, scores.mean(metric, modality=modality))}"
            for metric in CYCLE
        )
        for modality, _ in scores.means_by_modality("cycle_ssim")
    )
    pairs = f"{scores.num_pairs} pairs" if scores.num_pairs else "no pair with a real CT"
    tests = "".join(f"\n{line}" for line in comparisons_of(scores))
    score = scores.populations.get(GENERATOR, {}).get("selection")
    chosen = "" if score is None else f"\n{LABELS['selection']} {text_of('selection', score)}"
    beaten = "".join(f"\n{sentence}" for sentence in sentences_of_wins(scores))
    without = "" if scores.populations else f"\n{NO_TRAIN_CTS}"
    cautions = "".join(f"\nNot to be quoted: {reason}" for reason in scores.cautions)
    tables = "\n\n".join(filter(None, (_means(scores, HEADLINE), _means(scores, DETAILS))))
    return (
        f"{tables}{tests}\n"
        f"{scores.split} split, {pairs}, masked to the body, on the {scores.grid}'s grid\n"
        f"{cycles}{chosen}{beaten}{without}{cautions}"
    ).lstrip("\n")


HEADLINE = (*PAIRED, "bias_hu", *AGAINST_ATLAS)
TISSUES = ("mae_air_rim_hu", "mae_air_cavity_hu", "mae_soft_hu", "mae_bone_hu")
DETAILS = (*TISSUES, "hu_distance", "bone_depth_mismatch", "skull_mismatch_mm")
"""What the two tables of a terminal show."""


def _means(scores: Scores, metrics: Sequence[str]) -> str:
    """Return a table with a row for each method, without the metrics that no method has; what is
    wider than the terminal follows below."""
    names = ["", *scores.methods]
    left = max(map(len, names))
    blocks: list[list[list[str]]] = []
    room = 0
    for metric in metrics:
        values = [_mean(scores, metric, method) for method in scores.methods]
        if all(value is None for value in values):
            continue
        column = [LABELS[metric], *(text_of(metric, value) for value in values)]
        width = 2 + max(map(len, column))
        if not blocks or width > room:
            blocks.append([])
            room = shutil.get_terminal_size().columns - left
        blocks[-1].append([cell.rjust(width) for cell in column])
        room -= width
    return "\n\n".join(
        "\n".join(
            name.ljust(left) + "".join(cells) for name, *cells in zip(names, *block, strict=True)
        )
        for block in blocks
    )


def _mean(scores: Scores, metric: str, method: str) -> float | None:
    if metric in POPULATION:
        return scores.populations.get(method, {}).get(metric)
    return scores.mean(metric, method=method)
