"""The atlas with CTs whose field of view is cut, by heights in each field of view and on an axis.

    python -m benchmarks.heights STORE

Each CT of the train split loses 0 to 45 mm above and 0 to 30 mm below, at random; the test heads
are whole. The axis is fitted to the outlines of the train split, with the CTs as they are and with
the cut ones, as `convert` does. It prints the error of the heights and the scores of both atlases.
"""

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from cyclegan.atlas.atlas import atlas_of
from cyclegan.atlas.scans import Scan, scan_of
from cyclegan.inference.cycle import partner_ct
from cyclegan.metrics.paired_scores import bone_dice, mae_hu
from data_prep.preprocess.axis_fit import fit_axis
from data_prep.preprocess.height_axis import IN_EACH_FIELD_OF_VIEW, outline_of, sizes_by_mm
from data_prep.store.store import Store, open_store
from mrct.storage.paths import storage_path

CUT_MM = (45.0, 30.0)
"""Largest cut above and below."""
Heights = list[NDArray[np.float64]]


def main(argv: list[str]) -> None:
    """Print the scores with whole and with cut CTs, by both heights."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.heights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store")
    store = open_store(storage_path(parser.parse_args(argv).store))
    whole = [scan_of(store, ct) for ct in store.select("ct", "train")]
    cut, below = cut_scans(whole, store.spacing_mm[0])
    offsets = {}
    for name, cts in (("whole", whole), ("cut", cut)):
        by_kind, offsets[name] = heights_of(store, cts)
        for kind, (ct_heights, mri_heights) in by_kind.items():
            mae, dice = scores(store, cts, ct_heights, mri_heights)
            print(f"{name} CTs, {kind} heights: median atlas {mae:.1f} HU, mean {dice:.3f} Dice")
    errors = np.subtract(offsets["cut"], offsets["whole"]) - below
    errors -= np.median(errors)
    print(
        f"offsets of cut CTs: mean error {np.abs(errors).mean():.1f} mm, "
        f"largest {np.abs(errors).max():.1f} mm"
    )


def cut_scans(scans: list[Scan], slice_mm: float) -> tuple[list[Scan], NDArray[np.float64]]:
    """Scans without some slices at both ends, and how much each lost below in mm."""
    random, found, lost = np.random.default_rng(0), [], []
    for voxels, body, height, pixel in scans:
        above, below = (random.uniform(0, CUT_MM) / slice_mm).astype(int)
        kept = slice(below, len(body) - above)
        found.append((voxels[kept], body[kept], height[kept], pixel))
        lost.append(below * slice_mm)
    return found, np.array(lost)


def heights_of(store: Store, cts: list[Scan]) -> tuple[dict[str, tuple[Heights, Heights]], Heights]:
    """Heights of CTs and test MRIs by kind, and where the CTs begin on the axis in mm."""
    spacing_mm = store.spacing_mm
    ours = [outline_of(body) for _, body, _, _ in cts]
    mris = [volume.outline for volume in store.select("mri", "train")]
    tests = [volume.outline for volume in store.select("mri", "test")]
    axis = fit_axis([sizes_by_mm(outline, spacing_mm) for outline in (*mris, *ours)])
    by_kind = {
        kind: tuple(
            [each.place(outline, spacing_mm).heights(len(outline)) for outline in outlines]
            for outlines in (ours, tests)
        )
        for kind, each in (("own", IN_EACH_FIELD_OF_VIEW), ("axis", axis))
    }
    starts = [-axis.place(outline, spacing_mm).lowest * spacing_mm[0] for outline in ours]
    return by_kind, starts


def scores(
    store: Store, cts: list[Scan], ct_heights: Heights, mri_heights: Heights
) -> tuple[float, float]:
    """MAE of the median atlas and bone Dice of the mean atlas on the test heads."""
    atlas = atlas_of(
        (hu, body, height, pixel)
        for (hu, body, _, pixel), height in zip(cts, ct_heights, strict=True)
    )
    found = []
    for mri, height in zip(store.select("mri", "test"), mri_heights, strict=True):
        real = partner_ct(store, mri)
        assert real is not None
        mean, median = atlas.both(store.body(mri), height)
        found.append((mae_hu(median, *real), bone_dice(mean, *real)))
    mae, dice = np.mean(found, axis=0)
    return float(mae), float(dice)


if __name__ == "__main__":
    main(sys.argv[1:])
