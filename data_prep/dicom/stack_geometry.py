"""Geometry of the slices of one series: order, gaps, tilt and affine, in DICOM's patient
coordinates (LPS: +x left, +y posterior, +z up).

A stack is regular if its slices lie on an even grid perpendicular to them. Rounding in the file is
tolerated: a slice may lie 1 % of the spacing (at least 0.01 mm) off the even line that fits all
slices best. The tolerance applies to positions and not to single gaps, because rounded positions
(to 0.1 mm in some exports) change gaps by more than they misplace voxels: `papaya_MR_PD` has gaps
of 6.96 to 7.07 mm and no slice more than 0.06 mm off.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.readers.tolerances import MAX_GAP
from mrct.imaging.volume import LPS_TO_RAS, Affine

MAX_OFF_GRID = 0.01
"""Largest distance of a slice from the even grid, as a fraction of the spacing."""
MAX_TILT_DEGREES = 0.5
"""Tilt up to this is represented exactly by the affine's slice axis and is not refused."""
MIN_SLICES = 3
"""Fewer slices have at most one gap, which cannot be compared with another."""
SPACING_CODES = ("slice-missing", "irregular-spacing")
"""Codes of stacks whose slices are not evenly spaced."""
SAME_PLACE_MM = 0.01
_WHOLE_MULTIPLE = 0.05
_LISTED = 8

Positions = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a stack cannot be used as a volume without resampling."""

    code: str
    reason: str
    remedy: str
    widest_gap: float = 0.0
    """Of uneven slices, the gap that interpolation would have to fill, in median gaps; infinite if
    it must not."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stack:
    """Slices sorted by position along the normal, one or more at each position."""

    places: tuple[tuple[int, ...], ...]
    """For each position, the indices of its slices in the input."""
    positions: Positions
    """[places, 3], centre of the first voxel at each position, in LPS mm."""
    row: NDArray[np.float64]
    """[3], unit vector along which the column index grows, LPS."""
    column: NDArray[np.float64]
    """[3], unit vector along which the row index grows, LPS."""
    pixel_mm: tuple[float, float]
    """Distance between rows and between columns, in mm."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """[3], unit vector perpendicular to the slices."""
        return np.cross(self.row, self.column)

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        """[places], increasing: positions along the normal."""
        return self.positions @ self.normal

    @property
    def gaps_mm(self) -> NDArray[np.float64]:
        """[places - 1], distance of neighbouring slice planes."""
        return np.diff(self.heights_mm)

    @property
    def step(self) -> NDArray[np.float64]:
        """[3], from slice to slice in LPS mm: the slope of the line that fits all positions best.

        For an uneven stack only its direction is meaningful.
        """
        return self._line()[1]

    @property
    def tilt_degrees(self) -> float:
        """Angle between stacking direction and slice normal; 0 for a straight stack."""
        along = self.positions[-1] - self.positions[0]
        aside = np.linalg.norm(np.cross(self.normal, along))
        return float(np.degrees(np.arctan2(aside, along @ self.normal)))

    @property
    def affine(self) -> Affine:
        """[4, 4], (x, y, z, 1) voxel indices to RAS mm; a tilt is a shear of its third column."""
        return self._affine(*self._line())

    def _line(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return origin and step of the even grid nearest to the positions, by least squares."""
        index = np.arange(len(self.positions))
        step, origin = np.polyfit(index, self.positions, deg=1)
        return origin, step

    def _affine(self, origin: NDArray[np.float64], step: NDArray[np.float64]) -> Affine:
        between_rows, between_columns = self.pixel_mm
        affine = np.eye(4)
        affine[:3, 0] = self.row * between_columns
        affine[:3, 1] = self.column * between_rows
        affine[:3, 2] = step
        affine[:3, 3] = origin
        return LPS_TO_RAS @ affine

    def faults(self) -> list[Fault]:
        """Return all faults, most severe first; empty for a regular stack."""
        if len(self.places) < MIN_SLICES:
            return [_too_few(len(self.places), sum(map(len, self.places)))]
        origin, step = self._line()
        index = np.arange(len(self.places))[:, None]
        spacing = abs(float(step @ self.normal))
        tolerance = max(MAX_OFF_GRID * spacing, SAME_PLACE_MM)
        off = (self.positions - origin - index * step) @ self.normal
        faults = []
        if np.abs(off).max() > tolerance:
            faults.append(_missing(self) or _woven(self) or _irregular(self))
        if self.tilt_degrees > MAX_TILT_DEGREES:
            faults.append(_tilted(self))
        if self._off_line_mm() > max(tolerance, 0.1 * min(self.pixel_mm)):
            faults.append(_shifted(self))
        return sorted(faults, key=lambda fault: fault.code != "slice-missing")

    def _off_line_mm(self) -> float:
        """Return the largest distance of a position from the straight line that fits them best."""
        slope, offset = np.polyfit(self.heights_mm, self.positions, deg=1)
        line = offset + self.heights_mm[:, None] * slope
        return float(np.linalg.norm(self.positions - line, axis=1).max())

    def even(self, voxels: NDArray[np.float32]) -> tuple[NDArray[np.float32], Affine]:
        """Interpolate voxels [places, y, x] linearly to an even grid; return them and its affine.

        The spacing is the median gap. There is no extrapolation beyond the first and last slice.
        """
        heights = self.heights_mm - self.heights_mm[0]
        spacing = float(np.median(self.gaps_mm))
        wanted = np.arange(int(heights[-1] / spacing + 1e-3) + 1) * spacing
        upper = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
        share = (wanted - heights[upper - 1]) / (heights[upper] - heights[upper - 1])
        share = share.clip(0, 1).astype(np.float32)[:, None, None]
        values = voxels[upper - 1] * (1 - share) + voxels[upper] * share
        along = self.positions[-1] - self.positions[0]
        return values, self._affine(self.positions[0], along * spacing / heights[-1])


def stack_slices(
    positions: Positions, orientation: NDArray[np.float64], pixel_mm: tuple[float, float]
) -> Stack:
    """Sort slices by position along their normal and join those at one position.

    `positions` [n, 3] and `orientation` [6] are ImagePositionPatient and ImageOrientationPatient;
    `pixel_mm` is PixelSpacing. InstanceNumber is ignored: it may be missing or not spatial.
    """
    row, column = orientation[:3], orientation[3:]
    heights = positions @ np.cross(row, column)
    places: list[list[int]] = []
    for index in np.argsort(heights, kind="stable").tolist():
        if places and heights[index] - heights[places[-1][0]] < SAME_PLACE_MM:
            places[-1].append(index)
        else:
            places.append([index])
    return Stack(
        places=tuple(map(tuple, places)),
        positions=positions[[place[0] for place in places]],
        row=row,
        column=column,
        pixel_mm=pixel_mm,
    )


def _mm(value: float) -> str:
    return f"{round(value, 2):g}"


def _too_few(places: int, slices: int) -> Fault:
    return Fault(
        code="too-few-slices",
        reason=(
            f"The series has {slices} slice(s) at {places} position(s): too few for a volume or to "
            "check the spacing."
        ),
        remedy="Leave out localizers and single images, or export the whole series again.",
    )


def _missing(stack: Stack) -> Fault | None:
    """Return the fault if a few gaps are whole multiples of the others, else None."""
    gaps, heights = stack.gaps_mm, stack.heights_mm
    multiples = gaps / gaps.min()
    steps = np.rint(multiples).astype(int)
    wide = np.flatnonzero(steps > 1)
    if np.abs(multiples - steps).max() > _WHOLE_MULTIPLE or not 0 < 2 * len(wide) <= len(gaps):
        return None
    expected = [
        heights[at] + gaps[at] * part / steps[at] for at in wide for part in range(1, steps[at])
    ]
    listed = ", ".join(_mm(height) for height in expected[:_LISTED])
    more = f" and {len(expected) - _LISTED} more" if len(expected) > _LISTED else ""
    found = ", ".join(sorted({_mm(gap) for gap in gaps[wide]}, key=float))
    return Fault(
        code="slice-missing",
        reason=(
            f"{len(expected)} slice(s) missing: gap(s) of {found} mm where slices are "
            f"{_mm(gaps.min())} mm apart; expected at {listed}{more} mm along the slice normal."
        ),
        remedy="Export the whole series again from the archive.",
    )


def _woven(stack: Stack) -> Fault | None:
    """Return the fault if every other slice is one of a second, evenly spaced pass, else None."""
    combs = stack.heights_mm[::2], stack.heights_mm[1::2]
    if len(combs[1]) < MIN_SLICES:
        return None
    steps = np.concatenate([np.diff(comb) for comb in combs])
    if np.ptp(steps) > 2 * MAX_OFF_GRID * steps.mean():
        return None
    return Fault(
        code="irregular-spacing",
        reason=(
            f"Two passes are interleaved: each has slices every {_mm(steps.mean())} mm, and the "
            f"second lies {_mm(combs[1][0] - combs[0][0])} mm beside the first."
        ),
        remedy="Export the two passes as a series each; interpolating would mix them.",
        widest_gap=np.inf,
    )


def _irregular(stack: Stack) -> Fault:
    counts = Counter(_mm(gap) for gap in stack.gaps_mm).most_common()
    listed = ", ".join(
        f"{gap} mm ({'once' if count == 1 else f'{count} times'})"
        for gap, count in counts[:_LISTED]
    )
    more = f" and {len(counts) - _LISTED} other distances" if len(counts) > _LISTED else ""
    widest = float(stack.gaps_mm.max() / np.median(stack.gaps_mm))
    if widest <= MAX_GAP:
        remedy = (
            "Give --resample-irregular to interpolate between the slices, or leave the series out."
        )
    else:
        remedy = (
            f"Leave the series out, or export each of its blocks as a series: to fill the widest "
            f"gap, --resample-irregular would invent {round(widest) - 1} or more slices in a row."
        )
    return Fault(
        code="irregular-spacing",
        reason=f"Slices are not evenly spaced: gaps of {listed}{more}.",
        remedy=remedy,
        widest_gap=widest,
    )


def _tilted(stack: Stack) -> Fault:
    return Fault(
        code="gantry-tilt",
        reason=(
            f"Gantry tilt of {stack.tilt_degrees:.1f} degrees: slice normals and stacking "
            "direction differ (computed from the slice positions, whatever the tilt tag says)."
        ),
        remedy="Give --resample-tilt to straighten the stack, or leave the series out.",
    )


def _shifted(stack: Stack) -> Fault:
    return Fault(
        code="slices-shifted",
        reason=(
            f"Slice positions deviate up to {_mm(stack._off_line_mm())} mm from a straight line."
        ),
        remedy="Split the series into its acquisitions, or export it again.",
    )
