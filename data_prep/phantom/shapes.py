"""Solid shapes as signed distances, and smooth noise, from which the synthetic head is built.

Points are (x, y, z) arrays in mm; a distance is in mm, negative inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

Array = NDArray[np.float32]
Point = tuple[float, float, float]
Points = tuple[Array, Array, Array]
Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]
Box = tuple[slice, slice, slice]

FAR = np.float32(99.0)
"""Distance, in mm, assigned outside a shape's neighbourhood."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid along the axes. Distances are first-order: exact near the surface only
    (Taubin 1994, "Distance approximations for rasterizing implicit curves")."""

    centre: Point
    radii: Point

    def bounds(self) -> Bounds:
        centre, radii = np.array(self.centre, np.float64), np.array(self.radii, np.float64)
        return centre - radii, centre + radii

    def distance(self, points: Points) -> Array:
        scaled = [(p - c) / r for p, c, r in zip(points, self.centre, self.radii, strict=True)]
        level = _length(scaled)
        slope = _length([s / r for s, r in zip(scaled, self.radii, strict=True)])
        return (level - 1) * level / (slope + np.float32(1e-6))


@dataclass(frozen=True, slots=True)
class Capsule:
    """All points within `radius` of a straight line from `start` to `end`."""

    start: Point
    end: Point
    radius: float

    def bounds(self) -> Bounds:
        ends = np.array([self.start, self.end], np.float64)
        return ends.min(0) - self.radius, ends.max(0) + self.radius

    def distance(self, points: Points) -> Array:
        way = np.subtract(self.end, self.start).astype(np.float32)
        offsets = [p - a for p, a in zip(points, self.start, strict=True)]
        along = offsets[0] * way[0] + offsets[1] * way[1] + offsets[2] * way[2]
        along = np.clip(along / (way @ way), 0, 1)
        return _length([o - along * w for o, w in zip(offsets, way, strict=True)]) - self.radius


@dataclass(frozen=True, slots=True)
class Arch:
    """The front half of an upright elliptic ring, such as a dental arch."""

    centre: Point
    radii: tuple[float, float]
    """Radii of the ring's middle line, along x and y."""
    half_width: float
    half_height: float

    def bounds(self) -> Bounds:
        half = np.array([*np.add(self.radii, self.half_width), self.half_height])
        return np.array(self.centre) - half * (1, 0, 1), np.array(self.centre) + half

    def distance(self, points: Points) -> Array:
        x, y, z = points
        flat = Ellipsoid(self.centre, (*self.radii, 1e6)).distance((x, y, z))
        ring = np.maximum(np.abs(flat) - self.half_width, self.centre[1] - y)
        slab: Array = np.maximum(ring, np.abs(z - self.centre[2]) - self.half_height)
        return slab


Shape = Ellipsoid | Capsule | Arch
"""A solid with its bounds, the lowest and highest (x, y, z), and the distance of any points:
signed, in mm, negative inside, shaped like one of the points' arrays."""


def mirror_shape(shape: Ellipsoid | Capsule) -> list[Shape]:
    """Return the shape and its mirror image at the plane x = 0."""
    if isinstance(shape, Ellipsoid):
        return [shape, Ellipsoid(_mirror(shape.centre), shape.radii)]
    return [shape, Capsule(_mirror(shape.start), _mirror(shape.end), shape.radius)]


def _mirror(point: Point) -> Point:
    x, y, z = point
    return -x, y, z


def _length(parts: Sequence[Array]) -> Array:
    """Return the Euclidean length of vectors given by their (x, y, z) components."""
    x, y, z = parts
    length: Array = np.sqrt(x * x + y * y + z * z)
    return length


def blend_distances(a: Array, b: Array, width: float) -> Array:
    """Return the union of two solids with a fillet of about `width` mm (polynomial smooth minimum;
    I. Quilez, "Smooth minimum"); width 0 is the plain minimum."""
    if width == 0:
        return np.minimum(a, b)
    gap: Array = np.maximum(width - np.abs(a - b), 0) / np.float32(width)
    blend: Array = np.minimum(a, b) - gap * gap * np.float32(width / 4)
    return blend


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhantomFrame:
    """A voxel grid in a scanner's world, and the undeformed space in which shapes are given."""

    points: Points
    """Undeformed (x, y, z) of every voxel, each [z, y, x], in mm."""
    to_voxel: NDArray[np.float64]
    """[4, 4], undeformed mm to (x, y, z) voxel indices, without the elastic part."""
    slack: float
    """Voxels by which the elastic part may move a point."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = self.points[0].shape
        return z, y, x

    def box(self, shape: Shape, margin: float) -> Box:
        """Return the voxels within `margin` mm of a shape's bounds."""
        low, high = shape.bounds()
        corners = np.stack(np.meshgrid(*zip(low - margin, high + margin, strict=True)), -1)
        voxels = corners.reshape(-1, 3) @ self.to_voxel[:3, :3].T + self.to_voxel[:3, 3]
        first = np.floor(voxels.min(0) - self.slack).astype(int)[::-1]
        last = np.ceil(voxels.max(0) + self.slack).astype(int)[::-1] + 1
        z, y, x = (
            slice(max(0, a), max(0, min(n, b)))
            for a, b, n in zip(first, last, self.shape, strict=True)
        )
        return z, y, x

    def union(self, shapes: Sequence[Shape], *, blend: float = 0, margin: float = 6) -> Array:
        """Return the distance to the union of shapes, [z, y, x]; FAR beyond `margin` mm from it."""
        distance = np.full(self.shape, FAR)
        for shape in shapes:
            box = self.box(shape, margin + blend)
            x, y, z = self.points
            near = shape.distance((x[box], y[box], z[box]))
            distance[box] = blend_distances(distance[box], near, blend)
        return distance


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: float, knot_mm: float
) -> Array:
    """Return a smooth random field of zero mean and unit standard deviation, of any shape.

    A uniform cubic B-spline with normal random coefficients every `knot_mm`; features are about
    two knots across.
    """
    weights = [_spline_basis(size, spacing_mm / knot_mm) for size in shape]
    field = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
    for axis, weight in enumerate(weights):
        field = np.moveaxis(np.tensordot(weight, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray((field - field.mean()) / field.std())


def _spline_basis(size: int, knots_per_voxel: float) -> Array:
    """Return [size, knots], the weight of every coefficient at every voxel of one axis."""
    position = np.arange(size) * knots_per_voxel
    count = int(position[-1]) + 4
    spline = BSpline(np.arange(-3, count + 1, dtype=np.float64), np.eye(count), 3)
    return np.asarray(spline(position), np.float32)


def rotation_matrix(degrees_xyz: Point) -> NDArray[np.float64]:
    """Return [3, 3], the rotation about the fixed x, then y, then z axis."""
    return np.asarray(Rotation.from_euler("xyz", degrees_xyz, degrees=True).as_matrix())
