"""How well baselines, and models by name, do on people who are not average and unlike cohorts.

    python -m benchmarks.cohorts [COHORT ...] [--model RUN ...] [--trees]

Each cohort has a store of its own, on the frozen phantom's grid and with its training subjects but
for what its name says. `second` is of the other generator: choose on the frozen phantom, judge
there. `odd` has test subjects of whom each is odd in another way; scores inside the odd region are
beside those of the whole head. With `--trees`, boosted trees on the twelve true pairs of `second`'s
val split say how hard it is; they need scikit-learn, which is none of the project's dependencies,
in an environment of their own. Rows go to `--results`; a method is not scored again while it has a
row there of this generator, this preprocessing and these heights.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import commit, rows_of, write_rows
from benchmarks.recipes.judge import matches, mean_of, scores_of, table_of, test_heads
from benchmarks.recipes.phantom import CONVERT, command
from cyclegan.anchor.donors import donors_of
from cyclegan.anchor.warps import warps_onto
from cyclegan.atlas.atlas import train_atlas
from cyclegan.evaluate.model_under_test import open_model_under_test
from cyclegan.evaluate.score_table import ATLAS_MEAN, ATLAS_MEDIAN, CONTRAST_TABLE, SOFT_TISSUE
from cyclegan.inference.cycle import partner_ct
from cyclegan.metrics.baselines import constant_soft_tissue
from cyclegan.metrics.paired_scores import bone_dice, mae_hu
from data_prep.phantom.cohort import ODD_FOLDER, planned_visits
from data_prep.phantom.settings import CohortOrigin, read_origin
from data_prep.preprocess.spec import VERSION as PREPROCESSING_VERSION
from data_prep.readers.nifti import read_nifti
from data_prep.store.heights import HEIGHTS_VERSION
from data_prep.store.store import Store, StoredVolume, open_store
from mrct.imaging.geometry import resample_mask
from mrct.imaging.volume import Grid
from mrct.storage.local_path import LocalPath
from mrct.storage.paths import storage_path

RESULTS = Path("benchmarks/results/cohorts.jsonl")
ODDITIES = (
    "bone-flap burr-hole thick-skull thin-skull opaque-sinus calcification tumour metal-clip tilt "
    "child"
)
SECOND = "--generator levels --seed 77 --num-val 12 --num-test 6"
COHORTS = {
    "frozen": "",
    "odd": f"--num-test 10 --oddities {ODDITIES}",
    "CTs cut": "--ct-cut-mm 45 30",
    "fluid x1.5": "--mri-fluid 1.5",
    "fluid x2": "--mri-fluid 2",
    "fluid x3": "--mri-fluid 3",
    "skull x0.7": "--ct-skull 0.7",
    "skull x1.3": "--ct-skull 1.3",
    "fat x2": "--ct-fat 2",
    "contrast agent": "--contrast-agent",
    "T2": "--mri-weighting t2",
    "second": SECOND,
    "second, fluid x2": f"{SECOND} --mri-fluid 2",
}
FUSED_WARPS = "fused warps"
WARPS_PER_MRI = 6
Method = Callable[[StoredVolume], NDArray[np.float32]]


def main(argv: list[str]) -> None:
    """Make what is missing of the cohorts, score, append and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cohorts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cohorts", nargs="*", help=f"of {', '.join(COHORTS)}; all by default")
    parser.add_argument("--model", nargs="+", default=[], help="runs or model folders to score")
    parser.add_argument("--trees", action="store_true", help="boosted trees on second's true pairs")
    parser.add_argument("--out", type=LocalPath, default=LocalPath("runs/cohorts"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    flags = parser.parse_args(argv)
    for name in flags.cohorts or COHORTS:
        store, cohort = store_of(name, flags.out)
        for method, translate in methods_of(store, flags.model, flags.trees and name == "second"):
            key = {"cohort": name, "method": method} | versions_of(cohort)
            rows = rows_of(flags.results)
            if any(key.items() <= row.items() for row in rows):
                continue
            row = key | scored(store, cohort, translate) | {"commit": commit()}
            kept = [row for row in rows if (row["cohort"], row["method"]) != (name, method)]
            write_rows(flags.results, [*kept, row])
    print_rows([row for row in rows_of(flags.results) if row["cohort"] in COHORTS])


def versions_of(cohort: Path) -> dict[str, int]:
    """What a row of a cohort depends on."""
    origin = read_origin(cohort)
    assert origin is not None
    return {
        "generator": origin.version,
        "preprocessing": PREPROCESSING_VERSION,
        "heights": HEIGHTS_VERSION,
    }


def store_of(name: str, out: LocalPath) -> tuple[Store, Path]:
    """The store of a cohort and the folder of its files, made where they are absent."""
    folder = out / name.replace(" ", "-").replace(",", "")
    cohort, store = folder / "cohort", folder / "heads.zarr"
    if not (cohort / "manifest.csv").exists():
        command(f"data_prep phantom --out {cohort} {COHORTS[name]}")
    made = read_origin(cohort)
    if made is None or made != CohortOrigin.now(seed=made.seed, settings=made.settings):
        sys.exit(f"error: {cohort} is of an earlier generator. Remove {folder} to make it again.")
    if not (store / "index.safetensors").exists():
        command(f"data_prep convert --manifest {cohort / 'manifest.csv'} --out {store} {CONVERT}")
    return open_store(store), cohort


def methods_of(store: Store, models: list[str], trees: bool) -> Iterator[tuple[str, Method]]:
    """What is scored, by name."""
    atlas = train_atlas(store)
    yield SOFT_TISSUE, lambda mri: constant_soft_tissue(store.body(mri))
    yield ATLAS_MEAN, lambda mri: atlas.both(store.body(mri), mri.height)[0]
    yield ATLAS_MEDIAN, lambda mri: atlas.both(store.body(mri), mri.height)[1]
    if trees:
        from benchmarks.recipes.trees import fit_trees  # needs scikit-learn

        yield "trees on 12 pairs", fit_trees(store)
    yield (
        CONTRAST_TABLE,
        lambda mri: table_of(store).synthetic_ct(store.voxels(mri), store.body(mri), mri.height),
    )
    yield FUSED_WARPS, lambda mri: fused_warps(store, mri)
    for path in models:
        networks = open_model_under_test(storage_path(path), store).networks
        yield path, lambda mri, n=networks: n.translated(store.voxels(mri), store.body(mri), mri)[1]


def fused_warps(store: Store, mri: StoredVolume) -> NDArray[np.float32]:
    """Training CTs, warped onto an MRI through the contrast table's CT, and their mean by weight:
    what `python -m cyclegan.anchor` keeps for the MRIs of the train split."""
    table, body = table_of(store), store.body(mri)
    guess = table.synthetic_ct(store.voxels(mri), body, mri.height)
    number = [each.name for each in test_heads(store)].index(mri.name)
    cts = donors_of(number, mri, [*store.select("ct", "train")], WARPS_PER_MRI)
    donors = ((ct, store.voxels(ct), store.body(ct).astype(bool)) for ct in cts)
    inside = body.astype(bool)
    return warps_onto(
        mri, store.voxels(mri), inside, guess, table, donors, store.spacing_mm
    ).fused.astype(np.float32)


def scored(store: Store, cohort: Path, translate: Method) -> dict[str, Any]:
    """Scores of the test heads, and of what is odd in them."""
    heads, odd = [], {}
    regions = dict(odd_regions(store, cohort))
    for mri in test_heads(store):
        hu = translate(mri)
        heads.append({n: round(v, 4) for n, v in scores_of(hu, mri, store).items()})
        if mri.name in regions:
            oddity, region = regions[mri.name]
            real = partner_ct(store, mri)
            assert real is not None
            inside = real[1] & region
            odd[oddity] = {
                "whole_mae_hu": heads[-1]["mae_hu"],
                "mae_hu": round(mae_hu(hu, real[0], inside), 2),
                "bone_dice": round(bone_dice(hu, real[0], inside), 4),
            }
    return {"mean": mean_of(heads), "heads": heads, "odd": odd}


def odd_regions(store: Store, cohort: Path) -> Iterator[tuple[str, tuple[str, NDArray[np.bool_]]]]:
    """The oddity and its region on the store's grid, by MRI; the whole head for what is everywhere
    in it."""
    origin = read_origin(cohort)
    assert origin is not None
    visits = {
        f"phantom-{visit.index:04d}.nii.gz": visit.oddity
        for visit in planned_visits(origin.settings)
        if visit.oddity != "none"
    }
    for name, oddity in visits.items():
        source = read_nifti(cohort / "ct" / name, modality="ct", pseudonym="")
        (mri,) = [
            mri
            for mri in test_heads(store)
            if (ct := store.partner(mri)) is not None and matches(source.affine, ct)
        ]
        region = np.ones(mri.shape, bool)
        if (cohort / ODD_FOLDER / name).exists():
            mask = read_nifti(cohort / ODD_FOLDER / name, modality="ct", pseudonym="")
            stored = Grid(shape=mri.shape, affine=mri.affine)
            region = resample_mask(mask.voxels > 0, mask.grid, stored)
        yield mri.name, (oddity, region)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Two Markdown tables: whole heads by cohort, and inside what is odd."""
    columns = {"mae_hu": 1, "bone_dice": 3, "bias_hu": 1, "skill": 2, "patient_r": 2}
    columns["skull_mismatch_mm"] = 1
    print("| cohort | method | MAE HU | Dice | bias | skill | r | skull mm |\n" + "|---" * 8 + "|")
    for row in rows:
        means = [(row["mean"].get(name), digits) for name, digits in columns.items()]
        cells = ["-" if mean is None else f"{mean:.{digits}f}" for mean, digits in means]
        print(f"| {row['cohort']} | {row['method']} | " + " | ".join(cells) + " |")
    print("\n| oddity | method | MAE inside | Dice inside | MAE of the head |\n" + "|---" * 5 + "|")
    for row in rows:
        for oddity, found in row["odd"].items():
            print(
                f"| {oddity} | {row['method']} | {found['mae_hu']:.0f} | "
                f"{found['bone_dice']:.3f} | {found['whole_mae_hu']:.0f} |"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
