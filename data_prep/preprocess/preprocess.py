"""Preprocesses a volume as read from a file to the form of the store, which the networks expect.

`convert` and inference share it, so that the two cannot drift apart.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.preprocess.cropping import Cropping, cropping_of, middle_of
from data_prep.preprocess.height_axis import (
    IN_EACH_FIELD_OF_VIEW,
    HeightAxis,
    Outline,
    Placement,
    outline_of,
)
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.errors import VolumeError
from mrct.host_limits import free_memory_bytes
from mrct.imaging.background import background_level
from mrct.imaging.bias_field import correct_bias
from mrct.imaging.body_mask import RoughBody, body_mask, rough_body
from mrct.imaging.geometry import (
    canonical,
    is_parallel,
    resample,
    resample_mask,
    target_grid,
)
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import AIR, Window, robust_window
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Affine, Grid, Volume, spacing_of

_INT16_MAX = 32767
_MOST_BORDER = 0.8
"""Largest fraction of the slices' border that a body covers; the outline of a larger one lies
outside the scan, or the background is not air."""
_DARK_MIDDLE = 0.8
"""Fraction of the middle of an MRI's slices that is darker than its border only if the background
is bright: 0.87 and 0.99 in two inverted heads, 0.1 in images with signal up to the border."""
_MEMORY_PARALLEL, _MEMORY_TURNED = (5, 20), (10, 35)
"""Working memory in bytes per voxel of the volume as read and of the stored one, measured, with a
fifth to spare; the second if the axes of the two grids are not parallel."""
_FINE_ENOUGH = 1000
"""An MRI with a smaller maximum would lose grey levels when rounded to int16; it is scaled."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreprocessedVolume:
    """A volume on the store's grid in stored units."""

    voxels: NDArray[np.int16]
    """[z, y, x]: HU clipped to WINDOW_HU, or MRI values above air divided by `scale`."""
    body: NDArray[np.bool_]
    """[z, y, x], the body mask, found by one rule in every volume: depth, height and position are
    measured from its outline."""
    affine: Affine
    window: Window
    """The stored values that are mapped to -1 and 1."""
    scale: float
    """Stored value times this, plus `offset`, is the source's value; 1 for CT."""
    offset: float = 0.0
    """The source's value in air, for an MRI; 0 for CT."""
    score_mask: NDArray[np.bool_] | None = None
    """[z, y, x], the mask given by the data set, outside which no score counts; None: `body`."""
    source: Grid
    """The file's own grid; `geometry.resample` onto it is the inverse."""
    cut: Cropping | None = None
    """The part of the body that the slices do not hold, if known."""
    border_share: float = 0.0
    """Fraction of the border of the source's slices that the body covers."""
    axis: HeightAxis = IN_EACH_FIELD_OF_VIEW
    """The axis of its heights."""
    placed_by: tuple[int, int] | None = None
    """Rows and columns in the middle of its slices whose outline counts there; None: all."""

    @property
    def grid(self) -> Grid:
        """Grid of the stored voxels."""
        z, y, x = self.voxels.shape
        return Grid(shape=(z, y, x), affine=self.affine)

    @property
    def whole_size(self) -> tuple[int, int] | None:
        """Rows and columns that would hold the whole body; None if these slices do, or unknown."""
        return self.cut.needed_size if self.cut and self.cut.lost_mm else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what is missing of the body's outline; none if it is whole."""
        cut = self.cut.notes if self.cut else ()
        if self.border_share <= _MOST_BORDER:
            return cut
        return (
            *cut,
            f"The body covers {self.border_share:.0%} of the border of the slices: its outline "
            "lies outside the scan, so that depths below it are those below the border.",
        )

    @property
    def outline(self) -> Outline:
        """[z, 3]: body voxels, rows and columns with body in each slice, or in its middle."""
        size = self.body.shape[1:]
        return outline_of(self.body[:, *middle_of(size, self.placed_by or size)])

    @property
    def placement(self) -> Placement:
        """Where it lies on the axis of its heights."""
        return self.axis.place(self.outline, spacing_of(self.affine))

    @property
    def height(self) -> NDArray[np.float64]:
        """[z]: height of each slice in the body, 0 to 1, clipped beyond."""
        return self.placement.heights(len(self.body))


def preprocess(
    volume: Volume,
    spec: PreprocessingSpec,
    *,
    grid: Grid | None = None,
    given_mask: Volume | None = None,
) -> PreprocessedVolume:
    """Bring a volume to canonical axes, the spacing and (Y, X) of the settings, and int16.

    `grid` overrides the grid computed from the volume: a paired CT lies on that of its MRI.
    `given_mask` is a mask (above 0 is inside) in the volume's frame, on any grid; it becomes the
    score mask and changes nothing else. Raises VolumeError if the volume shows no body, if air
    around it is bright, if the mask lies outside of the volume, or if memory does not suffice.
    """
    upright = canonical(volume)
    whole = tuple(slice(0, n) for n in upright.voxels.shape)
    planned = grid or target_grid(upright.grid, spec.spacing_mm, spec.size, whole)
    _check_memory(upright.grid, planned)
    offset = 0.0
    if volume.modality == "mri" and (offset := background_level(upright.voxels) or 0.0):
        upright = replace(upright, voxels=upright.voxels - np.float32(offset))
    if volume.modality == "ct":
        # Before resampling: padding of -3024 and metal of 30,000 HU would bleed into neighbours.
        low, high = (upright.voxels.dtype.type(hu) for hu in WINDOW_HU)
        upright = replace(upright, voxels=upright.voxels.clip(low, high))
    rough = rough_body(upright)
    if rough:
        _check_outline(rough, volume.modality)
    box = rough.box if rough else whole
    grid = grid or target_grid(upright.grid, spec.spacing_mm, spec.size, box)
    air = AIR[volume.modality]
    values = resample(upright, grid, fill=air, interpolation=spec.interpolation).voxels
    body = body_mask(values, volume.modality, spacing_mm=grid.spacing_mm)
    if not body.any():
        raise VolumeError(
            "no-body",
            "No body was found: nothing stands out from the background.",
            "Check the file; if it does show anatomy, report it as a failure of the body mask.",
        )
    score_mask = None
    if given_mask is not None:
        score_mask = resample_mask(given_mask.voxels > 0, given_mask.grid, grid)
        _check_score_mask(score_mask)
    if spec.bias_correction and volume.modality == "mri":
        values = correct_bias(values, body, spacing_mm=grid.spacing_mm)
    scale = 1.0 if volume.modality == "ct" else _mri_scale(values)
    limits = WINDOW_HU if volume.modality == "ct" else (-_INT16_MAX, _INT16_MAX)
    voxels = np.rint(values / scale).clip(*limits).astype(np.int16)
    window = WINDOW_HU if volume.modality == "ct" else robust_window(voxels, body)
    if window[0] >= window[1]:
        raise VolumeError(
            "no-contrast",
            f"The robust window inside the body is empty ({window[0]:g} to {window[1]:g}).",
            "Check the file: it is a mask, or its magnitudes were clipped.",
        )
    return PreprocessedVolume(
        voxels=voxels,
        body=body,
        affine=grid.affine,
        window=window,
        scale=scale,
        offset=offset,
        score_mask=score_mask,
        source=volume.grid,
        cut=cropping_of(body, grid, box, upright.grid),
        border_share=rough.border_share if rough else 0.0,
    )


def _check_memory(source: Grid, stored: Grid) -> None:
    """Refuse a volume that memory does not suffice for: beyond the limit of a control group the
    kernel would kill this process, and with it the conversion of all other volumes."""
    per_source, per_stored = _MEMORY_PARALLEL if is_parallel(source, stored) else _MEMORY_TURNED
    needed = per_source * source.num_voxels + per_stored * stored.num_voxels
    free = free_memory_bytes()
    if needed > free:
        raise VolumeError(
            "memory",
            f"To preprocess {source.num_voxels:,} voxels takes {needed / 2**20:,.0f} MiB of "
            f"memory, and {free / 2**20:,.0f} MiB are left by the machine, the control groups of "
            "this process (a container, a Slurm job) and `ulimit -v`.",
            "Convert it where more memory is free, or with fewer --workers.",
        )


def _check_outline(rough: RoughBody, modality: Modality) -> None:
    """Refuse a background that is not air.

    A CT is wide enough for the whole body; an MRI may show a part of it, with tissue up to the
    border, but not a border that is brighter than the middle.
    """
    if rough.border_share <= _MOST_BORDER:
        return
    if modality == "mri" and rough.dark_middle < _DARK_MIDDLE:
        return
    raise VolumeError(
        "no-outline",
        f"The body covers {rough.border_share:.0%} of the border of the slices: no air shows "
        "around it, so that its outline, and every depth below it, is unknown.",
        "Give the scan before it was cropped, inverted, or filled with a value that is not air.",
    )


def _check_score_mask(mask: NDArray[np.bool_]) -> None:
    if not mask.any():
        raise VolumeError(
            "mask-unusable",
            "The mask given with the volume has no voxel above 0 within the volume.",
            "Check that it lies in the volume's frame, or convert without it.",
        )


def _mri_scale(values: NDArray[Any]) -> float:
    """Return 1 if magnitudes fit int16 with enough grey levels, else the scale that fills it."""
    largest = float(np.abs(values).max())
    return 1.0 if _FINE_ENOUGH <= largest <= _INT16_MAX else largest / _INT16_MAX
