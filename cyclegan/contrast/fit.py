"""Fits a contrast table to counts of a cohort.

Axes: P positions, H bins of HU, M bins of the MRI, F folds of volumes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from jaxtyping import Float

from cyclegan.atlas.positions import shares_by_position, smooth_by_position
from cyclegan.atlas.scans import Scan
from cyclegan.contrast.counts import CtCounts, MriCounts
from cyclegan.contrast.likelihood import NUM_FOLDS, fit_likelihood, log_gains
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.value_bins import TABLE_EDGES_HU
from cyclegan.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedTable:
    """A table, and by what its own training MRIs can be judged."""

    table: ContrastTable
    log_gains: Float[np.ndarray, "F P M"] | None
    """How much likelier each value is at each position than anywhere, to a table without the MRIs
    of the fold; None of a single MRI."""


def fit_table(cts: CtCounts | None, mris: MriCounts | None) -> FittedTable:
    """Fit the table of a cohort; none of its people need both scans.

    Raises:
        DataError: There is no MRI with a body, or no CT.
    """
    counts = None if cts is None else cts.voxels.toarray()
    folds = None if mris is None else mris.by_fold()
    if cts is None or counts is None or folds is None or not (counts.any() and folds.any()):
        raise DataError(
            "A contrast table needs at least one MRI and one CT with a body in the train split. "
            "Convert more volumes: python -m data_prep convert --mri DIR --ct DIR ..."
        )
    prior = shares_by_position(counts)
    fitted = fit_likelihood(
        folds,
        np.stack([smooth_by_position(fold) for fold in folds]),
        smooth_by_position(counts).sum(axis=1),
        prior,
    )
    voxels_of_bin = counts.sum(axis=0)
    middles = (TABLE_EDGES_HU[:-1] + TABLE_EDGES_HU[1:]) / 2
    bin_hu = np.where(voxels_of_bin > 0, cts.sums_hu / np.maximum(voxels_of_bin, 1), middles)
    histograms = folds.sum(axis=1)
    histogram = histograms.sum(axis=0)
    gains = None
    if fitted.held_out is not None:
        gains = np.stack(
            [
                log_gains(shapes, histogram - own, prior)
                for shapes, own in zip(fitted.held_out, histograms, strict=True)
            ]
        )
    return FittedTable(
        table=ContrastTable(
            prior=prior,
            likelihood=fitted.likelihood,
            bin_hu=bin_hu.astype(np.float32),
            affinities=cts.neighbours.affinities(prior),
            histogram=histogram.astype(np.float64),
            spacing_yx_mm=cts.spacing_yx_mm,
            findings=fitted.findings,
        ),
        log_gains=gains,
    )


def table_of_scans(mris: Iterable[Scan], cts: Iterable[Scan]) -> ContrastTable:
    """Fit the table of scans that are read one after the other in this process.

    Args:
        mris: MRIs, counted from their background.
        cts: CTs in HU.

    Raises:
        DataError: There is no MRI with a body, or no CT, or half of a body is background.
    """
    return fit_table(counts_of_cts(cts), counts_of_mris(enumerate(mris))).table


def counts_of_cts(scans: Iterable[Scan]) -> CtCounts | None:
    """Return the counts of CTs; None without one."""
    counted = (CtCounts.of(scan) for scan in scans)
    first = next(counted, None)
    return first and reduce(add, counted, first)


def counts_of_mris(scans: Iterable[tuple[int, Scan]]) -> MriCounts | None:
    """Return the counts of MRIs, each with its number in the cohort; None without a body.

    Raises:
        DataError: Half of a body is background.
    """
    counted = (MriCounts.of(scan, number % NUM_FOLDS) for number, scan in scans if scan[1].any())
    first = next(counted, None)
    return first and reduce(add, counted, first)
