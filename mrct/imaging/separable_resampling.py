"""Resamples arrays between grids whose axes are parallel: one matrix of weights per axis.

Interpolation and smoothing are linear and act axis by axis, so each axis becomes a matrix: the
result of the operation on the unit vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_PARALLEL = 1e-4
"""Voxels by which a point may miss a parallel axis: far below what float32 voxels resolve."""
_NEGLIGIBLE = 1e-7
"""Weights below this do not change a float32."""
_BLOCK_ROWS = 8
"""Rows of a matrix applied at a time; few, so that distant zeros cost nothing."""
Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Route:
    """Positions of a target's voxels in a source with parallel axes."""

    axes: tuple[int, int, int]
    """For each axis of the target, the parallel axis of the source."""
    positions: tuple[NDArray[np.float64], ...]
    """For each axis of the target, the source index of each of its voxels, fractions included."""
    lengths: tuple[int, ...]
    """For each axis of the target, the number of voxels of the source along it."""

    @property
    def reached(self) -> tuple[NDArray[np.bool_], ...]:
        """For each axis of the target, which of its voxels lie in a voxel of the source."""
        return tuple(
            inside_axis(at, length) for at, length in zip(self.positions, self.lengths, strict=True)
        )


def route(
    way: NDArray[np.float64], source: tuple[int, int, int], target: tuple[int, int, int]
) -> Route | None:
    """Return the route of `way` [4, 4], which maps (z, y, x, 1) target indices to source indices.

    None if an axis of one grid is not parallel to an axis of the other.
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


def inside_axis(at: NDArray[Any], length: int, tolerance: float = 0.0) -> NDArray[np.bool_]:
    """Return which positions along an axis of `length` voxels lie within half a voxel, and a
    tolerance in voxels, of a centre."""
    return (at >= -0.5 - tolerance) & (at <= length - 0.5 + tolerance)


def sample(
    voxels: NDArray[Any], way: Route, *, sigmas: NDArray[np.float64], order: int, fill: float
) -> Values:
    """Return the voxels at the route's positions as float32, with `fill` outside the source.

    The voxels are smoothed by Gaussians of `sigmas` source voxels along the source's axes, then
    interpolated by splines of `order` (1 is linear); border voxels are repeated.
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
    # One buffer for all blocks, because new memory costs as much as the arithmetic.
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
    """Return the mask's nearest voxels at the route's positions; false outside the source."""
    indices = [
        np.rint(at).astype(np.intp).clip(0, length - 1)
        for at, length in zip(way.positions, way.lengths, strict=True)
    ]
    picked: NDArray[np.bool_] = mask.transpose(way.axes)[np.ix_(*indices)]
    for axis, reached in enumerate(way.reached):
        np.moveaxis(picked, axis, 0)[~reached] = False
    return picked


def _along_rows(weights: Values, part: Values) -> Values:
    """Apply weights [Y, rows] to part [slices, rows, columns]."""
    result = np.empty((len(part), len(weights), part.shape[2]), np.float32)
    for block in _blocks(len(weights)):
        rows = _band(weights[block])
        np.matmul(weights[block, rows], part[:, rows], out=result[:, block])
    return result


def _weights(at: NDArray[np.float64], length: int, sigma: float, order: int) -> Values:
    """Return [positions, length], the smoothed and interpolated unit vectors."""
    units = np.eye(length)
    if sigma > 0:
        units = ndimage.gaussian_filter1d(units, sigma, axis=0, mode="nearest")
    at = at.clip(0, length - 1)
    coordinates = np.broadcast_arrays(at[:, None], np.arange(length))
    weights = ndimage.map_coordinates(units, coordinates, order=order, mode="nearest")
    weights[np.abs(weights) < _NEGLIGIBLE] = 0
    return np.asarray(weights, np.float32)


def _band(weights: Values) -> slice:
    """Return the range of columns that are not all zero."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)


def _blocks(length: int) -> list[slice]:
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, length, _BLOCK_ROWS)]
