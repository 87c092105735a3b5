"""Statistics of the training volumes, and the comparison of other volumes with them.

The model card lists them; `translate` compares its inputs with them. All are ranges over volumes,
so a single outlier widens them: the comparison warns and never refuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cyclegan.errors import require
from data_prep.preprocess.height_axis import WORST_MISFIT_MM
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.store.store import Store
from data_prep.store.stored_volume import StoredVolume
from mrct.imaging.geometry import canonical
from mrct.imaging.intensity import Window, normalise
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid, Volume

SHARES = (10, 25, 50, 75, 90)
"""The percentiles of the values inside the body that are compared."""
MAX_VOLUMES = 32
"""Largest number of volumes, evenly chosen, read for the percentiles; the geometry is that of all
volumes."""
_SPACING_FACTOR, _EXTENT_FACTOR = 1.5, 1.4
_LEAST_MARGIN = 0.1
"""In network units, which is 200 HU, or a twentieth of an MRI's window."""
_DEVIATIONS = 4.0
"""Largest allowed distance from the middle of the known values, in standard deviations between
volumes."""
_SPACING_NAMES = ("between slices", "between rows", "between columns")
_EXTENT_NAMES = ("foot to head", "front to back", "right to left")

Triple = tuple[float, float, float]
Plane = Literal["sagittal", "coronal", "axial"]
"""A slice orientation, in the order of the axes x, y, z that the slices lie across."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOn:
    """Lowest and highest values over the volumes of one modality in a train split."""

    volumes: int = 0
    """Number of volumes; with 0 nothing is known and nothing is compared."""
    spacing_mm_low: Triple = (0.0, 0.0, 0.0)
    """Spacing of the source files along z (foot to head), y, x, before resampling."""
    spacing_mm_high: Triple = (0.0, 0.0, 0.0)
    extent_mm_low: Triple = (0.0, 0.0, 0.0)
    """Field of view of the source files along z, y, x."""
    extent_mm_high: Triple = (0.0, 0.0, 0.0)
    planes: tuple[Plane, ...] = ()
    """Slice orientations: axial, coronal, sagittal."""
    shares: tuple[int, ...] = SHARES
    values_low: tuple[float, ...] = ()
    """The percentiles `shares` of the values inside the body, in network units [-1, 1] before any
    change of contrast."""
    values_high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.volumes >= 0, f"volumes is {self.volumes}; it must be 0 or more.")
        lengths = {len(self.values_low), len(self.values_high)}
        require(
            self.shares == SHARES and lengths == {len(SHARES) if self.volumes else 0},
            f"The percentiles {self.shares} have values {self.values_low} to {self.values_high}; "
            f"there must be one of each for {SHARES}.",
        )


def trained_on(store: Store, modality: Modality) -> TrainedOn:
    """Return the statistics of a store's train split."""
    volumes = store.select(modality, "train")
    if not len(volumes):
        return TrainedOn()
    grids = [upright(Grid(shape=v.source_shape, affine=v.source_affine)) for v in volumes]
    spacings = np.array([grid.spacing_mm for grid in grids])
    extents = np.array([extent_mm(grid) for grid in grids])
    chosen = np.unique(np.linspace(0, len(volumes) - 1, MAX_VOLUMES).astype(int))
    values = np.array([_stored_percentiles(store, volumes[int(index)]) for index in chosen])
    planes = {plane(Grid(shape=v.source_shape, affine=v.source_affine)) for v in volumes}
    return TrainedOn(
        volumes=len(volumes),
        spacing_mm_low=_triple(spacings.min(axis=0)),
        spacing_mm_high=_triple(spacings.max(axis=0)),
        extent_mm_low=_triple(extents.min(axis=0)),
        extent_mm_high=_triple(extents.max(axis=0)),
        planes=tuple(sorted(planes)),
        values_low=tuple(np.round(values.min(axis=0), 4).tolist()),
        values_high=tuple(np.round(values.max(axis=0), 4).tolist()),
    )


def unfamiliar_properties(known: TrainedOn, shown: PreprocessedVolume) -> list[str]:
    """Return a sentence, with the numbers, for each property of a volume outside the known
    ranges."""
    found = []
    misfit = shown.placement.misfit_mm
    if misfit is not None and misfit > WORST_MISFIT_MM:
        differs = (
            f"differs by {misfit:.0f} mm from that of the training volumes wherever it is laid "
            f"({WORST_MISFIT_MM:.0f} mm are usual at most)"
            if np.isfinite(misfit)
            else "reaches too far beyond that of the training volumes to be laid on it"
        )
        found.append(
            f"The outline {differs}, so the heights of its slices are not known: another part of "
            "the body, or a wrong outline."
        )
    if not known.volumes:
        return found
    source = shown.source
    grid = upright(source)
    for mm, low, high, where in zip(
        grid.spacing_mm, known.spacing_mm_low, known.spacing_mm_high, _SPACING_NAMES, strict=True
    ):
        if not low / _SPACING_FACTOR <= mm <= high * _SPACING_FACTOR:
            found.append(
                f"Voxel spacing is {mm:.2f} mm {where} (upright axes); the model was trained on "
                f"{low:.2f} to {high:.2f} mm."
            )
    for mm, low, high, where in zip(
        extent_mm(grid), known.extent_mm_low, known.extent_mm_high, _EXTENT_NAMES, strict=True
    ):
        if not low / _EXTENT_FACTOR <= mm <= high * _EXTENT_FACTOR:
            found.append(
                f"The field of view is {mm:.0f} mm {where}; the model was trained on {low:.0f} to "
                f"{high:.0f} mm."
            )
    if known.planes and plane(source) not in known.planes:
        found.append(
            f"The slices are {plane(source)}; the model was trained on "
            f"{' and '.join(known.planes)} slices."
        )
    if strange := _strange_values(known, percentiles(shown.voxels, shown.body, shown.window)):
        found.append(
            "Intensities inside the body differ from those of the training data (in the window, -1 "
            f"to 1): {strange}. The sequence, contrast agent or coil may differ."
        )
    return found


def percentiles(
    voxels: NDArray[np.int16], body: NDArray[np.bool_], window: Window
) -> tuple[float, ...]:
    """Return the percentiles `SHARES` of the values inside the body in network units."""
    inside = voxels[body][:: max(1, int(body.sum()) // 1_000_000)].astype(np.float32)
    found: list[float] = np.percentile(normalise(inside, window), SHARES).tolist()
    return tuple(found)


def upright(grid: Grid) -> Grid:
    """Return the grid with its axes in canonical order, z up."""
    nothing = np.broadcast_to(np.int16(0), grid.shape)
    return canonical(Volume(voxels=nothing, affine=grid.affine, modality="mri", pseudonym="")).grid


def extent_mm(grid: Grid) -> Triple:
    """Return the field of view along (z, y, x) in mm."""
    return _triple(np.array(grid.shape) * grid.spacing_mm)


def plane(grid: Grid) -> Plane:
    """Return the slice orientation: across the axis of widest spacing, or of the stored slices if
    all spacings are alike."""
    x, y, z = np.linalg.norm(grid.affine[:3, :3], axis=0)
    axis = 2 if z > 0.99 * max(x, y) else int(np.argmax([x, y]))
    normal = np.abs(grid.affine[:3, axis])
    across: tuple[Plane, ...] = get_args(Plane)
    return across[int(normal.argmax())]


def _strange_values(known: TrainedOn, values: Sequence[float]) -> str:
    parts = []
    seen = max(2, min(known.volumes, MAX_VOLUMES))  # of one volume the range is 0
    beyond = _DEVIATIONS / usual_range(seen) - 0.5  # each end, as a share of the known range
    for share, value, low, high in zip(
        known.shares, values, known.values_low, known.values_high, strict=True
    ):
        margin = max(_LEAST_MARGIN, beyond * (high - low))
        if not low - margin <= value <= high + margin:
            parts.append(f"{share}th percentile {value:.2f}, known {low:.2f} to {high:.2f}")
    return "; ".join(parts)


def usual_range(count: int) -> float:
    """Return the expected range of `count` normal values, 2 or more, in standard deviations.

    Few volumes cover a narrow part of the population: the range of 4 is 2.1, of 12 3.3 and of 32
    4.1. Twice the expected largest value, after Blom 1958; Tippett 1925 has the exact ones.
    """
    return 2 * NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def _stored_percentiles(store: Store, volume: StoredVolume) -> tuple[float, ...]:
    return percentiles(store.voxels(volume), store.body(volume).astype(bool), volume.window)


def _triple(values: NDArray[np.float64]) -> Triple:
    z, y, x = (round(float(value), 4) for value in values)
    return z, y, x
