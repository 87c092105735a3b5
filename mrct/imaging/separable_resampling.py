"""Resampling between grids whose axes are parallel: one matrix of weights per axis.

It knows arrays and indices, no volume and no millimetre. Interpolation and smoothing are linear and
work axis by axis, so each axis becomes a matrix: what the operation makes of the unit vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_PARALLEL = 1e-4
"""Voxels by which a point may miss a parallel axis: far below what float32 voxels resolve."""
_NEGLIGIBLE = 1e-7
"""Weights below it do not change a float32."""
_ON_THE_BORDER = 1e-3
"""Voxels: a centre on the source's very border is inside, whichever way it was rounded. Far above
the rounding of a float32 index (3e-5 at 500), far below what a picture shows."""
_BLOCK_ROWS = 8
"""Rows of a matrix that are applied at a time: few, so that far zeros cost nothing."""
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Route:
    """Where the voxels of a target lie in a source, if both have parallel axes."""

    axes: tuple[int, int, int]
    """For each axis of the target, the axis of the source that it runs along."""
    positions: tuple[NDArray[np.float64], ...]
    """For each axis of the target, the source index of each of its voxels, fractions included."""
    lengths: tuple[int, ...]
    """For each axis of the target, how many voxels the source has along it."""

    @property
    def reached(self) -> tuple[NDArray[np.bool_], ...]:
        """For each axis of the target, which of its voxels lie in a voxel of the source."""
        return tuple(
            covered(at, length) for at, length in zip(self.positions, self.lengths, strict=True)
        )


def route(
    way: NDArray[np.float64], source: tuple[int, int, int], target: tuple[int, int, int]
) -> Route | None:
    """The route by `way` [4, 4], which maps (z, y, x, 1) indices of a target to those of a source.

    None where an axis of one is not parallel to one of the other.
    """
    linear = way[:3, :3]
    axes = np.abs(linear).argmax(axis=0)
    stray = linear.copy()
    stray[axes, range(3)] = 0
    if len(set(axes)) < 3 or (np.abs(stray) @ target).max() > _PARALLEL:
        return None
    positions = tuple(
        way[axis, 3] + linear[axis, own] * np.arange(target[own]) for own, axis in enumerate(axes)
    )
    z, y, x = (int(axis) for axis in axes)
    return Route(
        axes=(z, y, x), positions=positions, lengths=tuple(source[axis] for axis in (z, y, x))
    )


def covered(at: NDArray[Any], length: int) -> NDArray[np.bool_]:
    """Which positions along an axis of `length` voxels lie in one of them, half a voxel around each
    centre."""
    return (at >= -0.5 - _ON_THE_BORDER) & (at <= length - 0.5 + _ON_THE_BORDER)


def sample(
    voxels: NDArray[Any], way: Route, *, sigmas: NDArray[np.float64], order: int, fill: float
) -> Values:
    """The voxels at the route's positions, `fill` where they do not reach, float32.

    First smoothed by Gaussians of `sigmas` source voxels along the source's axes, then interpolated
    by splines of `order` (1 is linear); the border's voxels repeat.
    """
    turned = voxels.transpose(way.axes)
    z, y, x = (
        _weights(at, length, float(sigmas[axis]), order)
        for at, length, axis in zip(way.positions, way.lengths, way.axes, strict=True)
    )
    rows, columns = _band(y), _band(x)
    y, x = y[:, rows], np.ascontiguousarray(x[:, columns].T)
    blocks = [(block, _band(z[block])) for block in _blocks(len(z))]
    turned = turned[:, rows, columns]
    # One buffer for all blocks: fresh memory costs as much as the arithmetic.
    most = max(slices.stop - slices.start for _, slices in blocks)
    buffer = np.empty((most, *turned.shape[1:]), np.float32)
    result = np.empty((len(z), len(y), x.shape[1]), np.float32)
    for block, slices in blocks:
        part = buffer[: slices.stop - slices.start]
        np.copyto(part, turned[slices])
        # part: [slices, rows, columns] -> [block, Y, X], an axis at a time
        mixed = (z[block, slices] @ part.reshape(len(part), -1)).reshape(-1, *part.shape[1:])
        result[block] = _along_rows(y, mixed) @ x
    for axis, reached in enumerate(way.reached):
        np.moveaxis(result, axis, 0)[~reached] = fill
    return result


def pick(mask: NDArray[np.bool_], way: Route) -> NDArray[np.bool_]:
    """The mask's nearest voxels at the route's positions; false where it does not reach."""
    indices = [
        np.rint(at).astype(np.intp).clip(0, length - 1)
        for at, length in zip(way.positions, way.lengths, strict=True)
    ]
    picked: NDArray[np.bool_] = mask.transpose(way.axes)[np.ix_(*indices)]
    for axis, reached in enumerate(way.reached):
        np.moveaxis(picked, axis, 0)[~reached] = False
    return picked


def _along_rows(weights: Values, part: Values) -> Values:
    """weights [Y, rows] applied to part [slices, rows, columns]."""
    result = np.empty((len(part), len(weights), part.shape[2]), np.float32)
    for block in _blocks(len(weights)):
        rows = _band(weights[block])
        np.matmul(weights[block, rows], part[:, rows], out=result[:, block])
    return result


def _weights(at: NDArray[np.float64], length: int, sigma: float, order: int) -> Values:
    """[positions, length]: what smoothing and interpolation make of each unit vector."""
    units = np.eye(length)
    if sigma > 0:
        units = ndimage.gaussian_filter1d(units, sigma, axis=0, mode="nearest")
    at = at.clip(0, length - 1)
    coordinates = np.broadcast_arrays(at[:, None], np.arange(length))
    weights = ndimage.map_coordinates(units, coordinates, order=order, mode="nearest")
    weights[np.abs(weights) < _NEGLIGIBLE] = 0
    return np.asarray(weights, np.float32)


def _band(weights: Values) -> slice:
    """The columns that are not all zero."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)


def _blocks(length: int) -> list[slice]:
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, length, _BLOCK_ROWS)]
