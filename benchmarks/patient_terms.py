"""Does a term that looks at the patient make the selection score rank methods as the truth does?

    python -m benchmarks.patient_terms [COHORT ...] [--model RUN ...] [--out FOLDER]

The selection score compares populations, so it cannot tell the atlas, which paints the average head
on everybody, from what looks at the MRI. The term tried here does: how likely the real MRI is under
the contrast table's P(m | h), if h is the HU of the synthetic CT. It is a gain in nats a voxel over
the MRI's histogram, as a share of what a true CT is expected to gain; it needs no pair. Each method
is scored on the test heads of each cohort of `benchmarks.cohorts`; Spearman's correlations with the
masked MAE and the bone Dice are over all methods and cohorts, and within each cohort.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from benchmarks.cohorts import COHORTS, Method, methods_of, store_of, versions_of
from benchmarks.quality import commit, rows_of, write_rows
from benchmarks.recipes.judge import table_of, test_heads
from cyclegan.atlas.positions import positions_of
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import hu_bins, mri_bins
from cyclegan.inference.cycle import partner_ct
from cyclegan.metrics.baselines import match_histogram
from cyclegan.metrics.body_regions import bone_region_mismatch, region_distance_hu
from cyclegan.metrics.paired_scores import bone_dice, mae_hu
from cyclegan.metrics.selection_score import VALUES_WEIGHT, train_ct_statistics
from cyclegan.metrics.unpaired_scores import ct_statistics_of, pool_statistics
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.hounsfield import AIR_HU, SOFT_TISSUE_HU
from mrct.storage.local_path import LocalPath

RESULTS = Path("benchmarks/results/patient_terms.jsonl")
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Of the term, relative to 1 for bone; 0 is the score of today without its cycle."""
BETTER = {"mae_hu": 1, "bone_dice": -1}
"""Signs that make less better."""
Row = dict[str, Any]


def main(argv: list[str]) -> None:
    """Score what has no row yet, and print the correlations."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.patient_terms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cohorts", nargs="*", help=f"of {', '.join(COHORTS)}; all by default")
    parser.add_argument("--model", nargs="+", default=[], help="runs or model folders to score")
    parser.add_argument("--out", type=LocalPath, default=LocalPath("runs/cohorts"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    flags = parser.parse_args(argv)
    for name in flags.cohorts or COHORTS:
        store, cohort = store_of(name, flags.out)
        key = {"cohort": name} | versions_of(cohort)
        rows = rows_of(flags.results)
        known = [row for row in rows if row["cohort"] != name or key.items() <= row.items()]
        methods = {row["method"] for row in known if row["cohort"] == name}
        made = [
            key | {"method": method} | terms_of(store, translate) | {"commit": commit()}
            for method, translate in kinds_of(store, flags.model)
            if method not in methods
        ]
        write_rows(flags.results, known + made)
    print_correlations(rows_of(flags.results))


def kinds_of(store: Store, models: list[str]) -> Iterator[tuple[str, Method]]:
    """Methods that look at the MRI, at its outline alone, or at the truth, of unlike quality."""
    population = train_ct_statistics(store)
    by_name = dict(methods_of(store, models, trees=False))
    yield from by_name.items()
    yield (
        "histogram matching",
        lambda mri: match_histogram(store.voxels(mri), store.body(mri), population),
    )
    atlas, table = by_name["atlas, mean"], by_name["contrast table"]
    look_up = table_of(store).expected_hu(by_value=True)
    yield "step 0 of a guided run", lambda mri: looked_up(store, mri, look_up)
    yield "atlas and table, mean", lambda mri: (atlas(mri) + table(mri)) / 2
    yield "table, blurred", lambda mri: blurred(table(mri), 1.5)
    yield "table, noise of 150 HU", lambda mri: noisy(table(mri), 150)
    yield "true CT, blurred", lambda mri: blurred(true_ct(store, mri), 1.0)
    yield "true CT", lambda mri: true_ct(store, mri)


def looked_up(
    store: Store, mri: StoredVolume, expected_hu: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What a guided generator returns before its first step."""
    body = store.body(mri)
    inside = body > 0
    hu = np.full(mri.shape, AIR_HU, np.float32)
    positions = positions_of(body, mri.height, store.spacing_mm[1:])
    hu[inside] = expected_hu[positions, mri_bins(store.voxels(mri)[inside])]
    return hu


def blurred(hu: NDArray[Any], voxels: float) -> NDArray[np.float32]:
    """A CT without its details."""
    found: NDArray[np.float32] = gaussian_filter(hu.astype(np.float32), voxels)
    return found


def noisy(hu: NDArray[Any], sd_hu: float) -> NDArray[np.float32]:
    """A CT with white noise, the same in every call."""
    return (hu + sd_hu * np.random.default_rng(0).standard_normal(hu.shape)).astype(np.float32)


def true_ct(store: Store, mri: StoredVolume) -> NDArray[np.float32]:
    """The real CT of the same person."""
    real = partner_ct(store, mri)
    assert real is not None
    return real[0].astype(np.float32)


def terms_of(store: Store, translate: Method) -> dict[str, float]:
    """Errors that no method may see, and the terms without pairs, over the test heads."""
    table, real_cts = table_of(store), train_ct_statistics(store)
    errors, gains, made = [], [], []
    for mri in test_heads(store):
        hu, body, real = translate(mri), store.body(mri), partner_ct(store, mri)
        assert real is not None
        errors.append((mae_hu(hu, *real), bone_dice(hu, *real)))
        gains.append(share_of_gain(table, store.voxels(mri), body, mri.height, hu))
        made.append(ct_statistics_of(hu, body, store.spacing_mm, mri.height))
    regions = pool_statistics(made).regions
    distance = region_distance_hu(regions, real_cts.regions)
    of_soft = region_distance_hu(regions.all_of(SOFT_TISSUE_HU), real_cts.regions)
    mae, dice = np.mean(errors, axis=0).tolist()
    values = {
        "mae_hu": mae,
        "bone_dice": dice,
        "bone": bone_region_mismatch(regions, real_cts.regions),
        "values": distance / max(distance + of_soft, 1e-9),
        "gain": float(np.mean(gains)),
    }
    return {name: round(value, 4) for name, value in values.items()}


def share_of_gain(
    table: ContrastTable,
    voxels: NDArray[Any],
    body: NDArray[Any],
    height: NDArray[np.float64],
    hu: NDArray[Any],
) -> float:
    """How likely an MRI is, given the HU of a CT, as a share of what a true CT would gain."""
    inside = body > 0
    values = mri_bins(voxels[inside])
    histogram = np.bincount(values, minlength=table.likelihood.shape[1]) + 1.0
    log_gain = np.log(table.likelihood + 1e-6) - np.log(histogram / histogram.sum())
    shares = table.prior[positions_of(body, height, table.spacing_yx_mm)].mean(axis=0)
    expected = float(shares @ (table.likelihood * log_gain).sum(axis=1))
    return float(log_gain[hu_bins(hu[inside]), values].mean()) / expected


def score(row: Row, weight: float) -> float:
    """The selection score with the term, less is better; without the cycle, which few have."""
    return float(row["bone"] + VALUES_WEIGHT * row["values"] + weight * (1 - row["gain"]))


def correlation(rows: Sequence[Row], scores: Sequence[float], truth: str) -> float:
    """Spearman's, +1 where both rank alike."""
    return float(spearmanr(scores, [BETTER[truth] * row[truth] for row in rows]).statistic)


def print_correlations(rows: list[Row]) -> None:
    """Each row, and Markdown: by weight of the term, over all rows and within cohorts."""
    for row in rows:
        numbers = " ".join(f"{row[n]:8.3f}" for n in (*BETTER, "bone", "values", "gain"))
        print(numbers, f"{score(row, 0):6.3f}", row["cohort"], "|", row["method"])
    cohorts = {row["cohort"]: [r for r in rows if r["cohort"] == row["cohort"]] for row in rows}
    print("\n| weight | MAE, all | Dice, all | MAE, worst cohort | Dice, worst cohort |")
    print("|---" * 5 + "|")
    for weight in WEIGHTS:
        cells = [
            correlation(each, [score(row, weight) for row in each], truth)
            for truth in BETTER
            for each in (rows, *cohorts.values())
        ]
        half = len(cells) // 2
        found = (cells[0], cells[half], min(cells[1:half]), min(cells[half + 1 :]))
        print(f"| {weight:g} | " + " | ".join(f"{cell:.2f}" for cell in found) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
