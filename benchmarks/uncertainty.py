"""Claim: the map of `--uncertainty` shows where a synthetic CT is wrong.

On every pair of a split: correlation of the map with the true absolute error inside the body, and
the mean error of the tenth of the voxels that the map is most unsure of, over the mean error (goal:
3). Beside it two maps that need no network: the gradient of the synthetic CT, and nothing but
chance. By default it takes the demo's. Run it: python -m benchmarks.uncertainty [--split test]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr

from cyclegan.export.model_folder import is_of_both, model_folder_of, read_model
from cyclegan.inference.cycle import partner_ct
from cyclegan.translate.engine import TranslationEngine
from cyclegan.translate.inputs import StoredInput
from cyclegan.translate.uncertainty import uncertainty
from data_prep.store.store import open_store
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import LocalPath

MODEL, STORE = Path("demo/runs/demo/model_both"), LocalPath("demo/heads.zarr")
MOST = 0.1
"""Share of the voxels that are called the most uncertain ones."""


def error_correlation(
    unsure: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Pearson and Spearman correlation, and how much larger the error is where it is unsure."""
    order = np.argsort(unsure, kind="stable")[-int(MOST * len(unsure)) :]
    ratio = float(error[order].mean() / error.mean())
    pearson = float(np.corrcoef(unsure, error)[0, 1])
    return pearson, float(spearmanr(unsure, error).statistic), ratio


def main() -> None:
    """Measure, print, and keep if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="of both directions, if it can")
    parser.add_argument("--store", type=LocalPath, default=STORE, help="with pairs")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", type=Path, help="keep the figures")
    arguments = parser.parse_args()
    if not arguments.model.exists():
        print(f"{arguments.model} is not there. Make it: make demo, then")
        print("  python -m cyclegan.export demo/runs/demo --direction both")
        return
    store = open_store(arguments.store)
    engine = TranslationEngine(model=read_model(model_folder_of(arguments.model, "to_ct")))
    back = None
    if is_of_both(arguments.model):
        back = TranslationEngine(model=read_model(model_folder_of(arguments.model, "to_mri")))
    random, rows = np.random.default_rng(0), []
    print(f"{'volume':22}{'map':22}{'Pearson':>9}{'Spearman':>10}{'error in top tenth':>20}")
    for volume in store.select("mri", arguments.split):
        if not (real := partner_ct(store, volume)):
            continue
        ct, mask = real
        shown = StoredInput(store=store, volume=volume, number=0).preprocessed()
        images = engine.images(shown)
        translated = engine.run(images, shown)
        hu = engine.values(translated, shown)
        error = np.abs(hu - ct)[mask].astype(np.float64)
        sigmas = [store.spacing_mm[2] / mm for mm in store.spacing_mm]
        maps = {
            "ours": uncertainty(engine, back, images, translated, shown)[mask],
            "gradient of the CT": ndimage.gaussian_gradient_magnitude(hu, sigmas)[mask],
            "chance": random.random(len(error)),
        }
        for name, unsure in maps.items():
            pearson, spearman, ratio = error_correlation(unsure.astype(np.float64), error)
            rows.append({"map": name, "pearson": pearson, "spearman": spearman, "ratio": ratio})
            place = volume.name.split("/")[1]
            print(f"{place:22}{name:22}{pearson:9.2f}{spearman:10.2f}{ratio:19.2f}x", flush=True)
    for name in dict.fromkeys(row["map"] for row in rows):
        own = [row for row in rows if row["map"] == name]
        pearson, spearman, ratio = (
            float(np.mean([row[key] for row in own])) for key in ("pearson", "spearman", "ratio")
        )
        print(f"{'mean':22}{name:22}{pearson:9.2f}{spearman:10.2f}{ratio:19.2f}x")
    if arguments.json:
        write_atomic(arguments.json, json.dumps(rows).encode())


if __name__ == "__main__":
    main()
