"""Fits the axis of heights of a cohort to the outlines of its scans.

Axes: Z slices of a scan, N points of an axis of 1 mm, F features of a slice.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.preprocess.height_axis import (
    WORST_MISFIT_MM,
    Features,
    HeightAxis,
    Triple,
    misfits,
)

FEWEST_ALIGNED, FEWEST_PEOPLE = 4, 2
"""Scans, and people on them, from which a common axis is fitted."""
MOST_FITTED = 128
"""Scans of a modality that are enough for a mean outline."""
LEAST_COVERAGE = 0.1
"""Share of the subjects, and at least two, that lie at each point of the axis: no end of it shows
the outline of a single person."""
_NO_FIT_MM = 2 * WORST_MISFIT_MM
"""What a scan without a fit counts in the mean misfit."""
MOST_DOUBT_MM = 15.0
"""Distance that a scan may be moved with hardly a change of misfit, above which outlines do not
tell where it lies: 44 to 72 for cylinders, 0.5 to 3 for round heads."""
_SAME_MISFIT_MM = 1.0
ROUNDS = 8
"""Of offsets and mean outline in turn; they settle in 3 to 5."""


def scans_to_fit(count: int) -> list[int]:
    """Return the numbers of at most MOST_FITTED of some scans, evenly chosen."""
    numbers: list[int] = np.unique(np.linspace(0, count - 1, MOST_FITTED).astype(int)).tolist()
    return numbers


def fit_axis(scans: Sequence[Features], subjects: Sequence[str] | None = None) -> HeightAxis:
    """Return the common axis of scans.

    Offsets and mean outline are improved in turn (Procrustes analysis by shifts alone: Gower 1975,
    Psychometrika 40:33), from a start at each of the three longest scans; the best fit stays.

    Args:
        scans: Sizes of each scan by mm (`sizes_by_mm`).
        subjects: Of whom each is; None: all of other people.
    """
    subjects = subjects or [*map(str, range(len(scans)))]
    if len(scans) < FEWEST_ALIGNED or len({*subjects}) < FEWEST_PEOPLE:
        return HeightAxis(
            volumes=len(scans),
            fallback=f"{len(scans)} training volumes are too few for an axis of heights; "
            f"{FEWEST_ALIGNED} of {FEWEST_PEOPLE} subjects are needed.",
        )
    starts = sorted(range(len(scans)), key=lambda number: -len(scans[number]))[:3]
    _, offsets = min((_fit_from(scans, start) for start in starts), key=lambda fit: fit[0])
    mean = _mean_outline(scans, offsets)
    slices, with_body = _subjects_at(scans, offsets, subjects, len(mean))
    placed = {each for each, offset in zip(subjects, offsets, strict=True) if offset is not None}
    fewest = max(FEWEST_PEOPLE, LEAST_COVERAGE * len(placed))
    known, held = np.flatnonzero(slices >= fewest), np.flatnonzero(with_body >= fewest)
    doubt = float(np.median([_doubt_mm(mean, scan) for scan in scans]))
    is_torn = len(held) < 2 or np.isnan(mean[known[0] : known[-1]]).any() or np.isinf(doubt)
    if is_torn or doubt > MOST_DOUBT_MM:
        why = (
            "have no place on a common axis: they show parts of the body that do not overlap."
            if is_torn
            else "do not tell where each lies along the body: it could as well be moved by "
            f"{doubt:.0f} mm."
        )
        return HeightAxis(
            volumes=len(scans), fallback=f"The outlines of {len(scans)} training volumes {why}"
        )
    sizes: list[Triple] = [
        (round(a, 2), round(b, 2), round(c, 2))
        for a, b, c in mean[known[0] : known[-1] + 1].tolist()
    ]
    return HeightAxis(
        sizes_mm=tuple(sizes),
        low_mm=float(held[0] - known[0]),
        high_mm=float(held[-1] - known[0]),
        volumes=sum(offset is not None for offset in offsets),
    )


def _doubt_mm(axis: Features, own: Features) -> float:
    """Return how far a scan can be moved to each side with hardly a change of its misfit."""
    offsets, costs = misfits(axis, own)
    if not np.isfinite(costs).any():
        return np.inf
    as_good = offsets[costs <= costs.min() + _SAME_MISFIT_MM]
    return float(as_good[-1] - as_good[0]) / 2


def _fit_from(owns: Sequence[Features], start: int) -> tuple[float, list[int | None]]:
    """Return the mean misfit and the offsets that a start leads to; None of a scan without one."""
    axis, offsets, cost = owns[start], list[int | None](), np.inf
    for _ in range(ROUNDS):
        tried = [_best(axis, own) for own in owns]
        lowest = min((offset for offset, _ in tried if offset is not None), default=0)
        moved = [None if offset is None else offset - lowest for offset, _ in tried]
        if moved == offsets:
            break
        offsets, cost = moved, float(np.mean([min(misfit, _NO_FIT_MM) for _, misfit in tried]))
        axis = _mean_outline(owns, offsets)
    return cost, offsets


def _best(axis: Features, own: Features) -> tuple[int | None, float]:
    offsets, costs = misfits(axis, own)
    best = int(costs.argmin())
    return (int(offsets[best]) if np.isfinite(costs[best]) else None), float(costs[best])


def _mean_outline(owns: Sequence[Features], offsets: list[int | None]) -> Features:
    """Return the mean at each mm."""
    placed = [(o, own) for o, own in zip(offsets, owns, strict=True) if o is not None]
    length = max(offset + len(own) for offset, own in placed)
    sums, slices = np.zeros((length, owns[0].shape[1])), np.zeros(length)
    for offset, own in placed:
        here = slice(offset, offset + len(own))
        sums[here] += own
        slices[here] += 1
    mean: Features = np.where(slices[:, None] > 0, sums / np.maximum(slices, 1)[:, None], np.nan)
    return mean


def _subjects_at(
    owns: Sequence[Features], offsets: list[int | None], subjects: Sequence[str], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many subjects have a slice at each mm, and one with body."""
    shown = {subject: np.zeros((2, length), bool) for subject in subjects}
    for own, offset, subject in zip(owns, offsets, subjects, strict=True):
        if offset is not None:
            here = shown[subject][:, offset : offset + len(own)]
            here[0] = True
            here[1] |= own[:, 0] > 0
    slices, with_body = np.sum([*shown.values()], axis=0)
    return slices, with_body
