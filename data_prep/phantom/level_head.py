"""A head by other formulas than `anatomy`: levels of radial functions and of random fields.

Nothing that is tuned on the first generator should be judged on it, so this one shares neither
shapes nor contrasts with it (`level_scanner`). The braincase is a superellipsoid with random bumps,
its layers are radial depths; bones, cells and fat of the face are level sets of noise. Template
space: x right, y front, z up, in mm, as there; sizes by eye.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.shapes import Array, Point, Points, rotation_matrix, smooth_noise
from mrct.imaging.volume import Affine

BOX_MM = ((-106.0, -134.0, -104.0), (106.0, 138.0, 112.0))
"""The lowest and the highest (x, y, z) of the world."""
FLOOR_MM = ((-60.0, -15.0, 0.0, 38.0, 50.0), (-50.0, -50.0, -33.0, -30.0, -12.0))
"""Height z of the skull base at each y: rear, middle and front fossa."""


class Material(IntEnum):
    """What fills a voxel; the number is the index in `LevelHead.fractions`."""

    AIR = 0
    SKIN = 1
    LIPID = 2
    MUSCLE = 3
    COMPACT = 4
    SPONGY = 5
    FLUID = 6
    CORTEX = 7
    WHITE = 8
    MUCOSA = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelPerson:
    """In what these heads differ."""

    radii: Point
    """Of the braincase, in mm."""
    exponent: float
    """2 is an ellipsoid, more is more like a box."""
    bumps: tuple[float, ...]
    """Of the braincase, relative to its radius: six harmonics."""
    turn_deg: Point
    shift_mm: Point
    warp_mm: float
    skull_mm: float
    spongy: float
    """Share of the skull's thickness."""
    fat_mm: float
    fluid_mm: float
    ventricles: float
    sinuses: Point
    """Factor of the radii of maxillary, frontal and sphenoid sinus."""
    texture_seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "LevelPerson":
        """Return a random adult."""
        size = rng.normal(1, 0.03)
        x, y, z = np.array((73.0, 91.0, 78.0)) * size * rng.normal(1, 0.025, 3)
        return cls(
            radii=(x, y, z),
            exponent=rng.uniform(2.1, 2.5),
            bumps=tuple(rng.normal(0, 0.012, 6)),
            turn_deg=tuple(rng.normal(0, (5, 2, 3))),
            shift_mm=tuple(rng.normal(0, (3, 5, 3))),
            warp_mm=rng.uniform(1.35, 2.8),
            skull_mm=rng.uniform(5.25, 8.75),
            spongy=rng.uniform(0.3, 0.6),
            fat_mm=rng.uniform(2.0, 6.0),
            fluid_mm=rng.uniform(1.5, 4.5),
            ventricles=rng.uniform(0.7, 1.4),
            sinuses=tuple(rng.uniform(0.6, 1.15, 3)),
            texture_seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LevelHead:
    """One head in the world of a scanner."""

    fractions: NDArray[np.float32]
    """[material, z, y, x], sums to 1 over materials."""
    density: Array
    """[z, y, x], factor of the mineral of bone, with a mean of 1."""
    affine: Affine
    """[4, 4], (x, y, z, 1) voxel indices to RAS mm."""


def make_level_head(person: LevelPerson, *, spacing_mm: float) -> LevelHead:
    """Generate one head; partial volume is linear in the distances."""
    rng = np.random.Generator(np.random.Philox(person.texture_seed))
    low, high = np.array(BOX_MM)
    shape_xyz = np.ceil((high - low) / spacing_mm).astype(int)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    nz, ny, nx = shape = tuple(int(n) for n in shape_xyz[::-1])
    noise = _Noise(rng=rng, shape=shape, spacing_mm=spacing_mm)
    turn = np.linalg.inv(rotation_matrix(person.turn_deg)).astype(np.float32)
    world = [
        (np.arange(n, dtype=np.float32) * np.float32(spacing_mm) + np.float32(a - s))
        for n, a, s in zip((nx, ny, nz), low, person.shift_mm, strict=True)
    ]
    x, y, z = (
        row[0] * world[0]
        + row[1] * world[1][:, None]
        + row[2] * world[2][:, None, None]
        + person.warp_mm * noise.field(60)
        for row in turn
    )
    fractions = np.zeros((len(Material), *shape), np.float32)
    left = np.ones(shape, np.float32)
    for material, distance in _layers(person, (x, y, z), noise):
        visible = np.clip(0.5 - distance / np.float32(spacing_mm), 0, 1) * left
        fractions[material] += visible
        left -= visible
    fractions[Material.AIR] += left
    density = np.exp(0.26 * noise.field(14) - 0.034).astype(np.float32)
    return LevelHead(fractions=fractions, density=density, affine=affine)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Noise:
    rng: np.random.Generator
    shape: tuple[int, ...]
    spacing_mm: float

    def field(self, knot_mm: float) -> Array:
        """Return smooth noise of zero mean and unit deviation, [z, y, x]."""
        return smooth_noise(self.rng, self.shape, self.spacing_mm, knot_mm)

    def sheet(self, knot_mm: float, half_mm: float) -> Array:
        """Return the distance to sheets of noise's zero, with slopes of about 1.3 a knot."""
        return np.abs(self.field(knot_mm)) * np.float32(knot_mm / 1.3) - np.float32(half_mm)


def radial(points: Points, centre: Point, radii: Point, exponent: float = 2.0) -> Array:
    """Return the distance in mm along the radius to a superellipsoid, negative inside.

    The level is (|x/a|^n + |y/b|^n + |z/c|^n)^(1/n), 1 on the surface (Barr 1981, IEEE CG&A 1:11).
    """
    offsets = [p - np.float32(c) for p, c in zip(points, centre, strict=True)]
    n = np.float32(exponent)
    powers = sum(np.abs(o / np.float32(r)) ** n for o, r in zip(offsets, radii, strict=True))
    level = np.maximum(powers, 1e-9) ** (1 / n)
    length = np.sqrt(sum(o * o for o in offsets))
    distance: Array = length * (1 - 1 / level)
    # At the centre both factors are extreme: there it is the smallest radius.
    return np.maximum(distance, np.float32(-min(radii)))


def _both(points: Points, centre: Point, radii: Point) -> Array:
    """Return `radial` of a shape and of its mirror image."""
    x, y, z = points
    return radial((np.abs(x), y, z), centre, radii)


def _layers(person: LevelPerson, points: Points, noise: _Noise) -> Iterator[tuple[Material, Array]]:
    """Yield (material, distance in mm), front layer first; earlier layers hide later ones."""
    x, y, z = points
    case = radial(points, (0, -5, 5), person.radii, person.exponent) - _bumps(person, points)
    thickness = person.skull_mm * np.exp(0.16 * noise.field(30))
    # Thin at the temples, thick at the inion.
    temple = np.exp(-(((np.abs(x) - 68) / 15) ** 2 + ((z + 8) / 20) ** 2 + ((y - 15) / 35) ** 2))
    inion = np.exp(-((x / 14) ** 2 + ((y + 92) / 14) ** 2 + ((z + 20) / 16) ** 2))
    thickness = thickness * (1 - 0.55 * temple) + 4 * inion
    floor = np.interp(y, *FLOOR_MM).astype(np.float32) + 3.5 * noise.field(18) - z
    cavity = np.maximum(case + thickness, floor)
    fat = person.fat_mm * np.exp(0.25 * noise.field(28))
    face = radial(points, (0, 32, -64), (60, 62, 74), 2.3)
    neck = np.maximum(np.hypot(x / 1.02, y + 28) - 56, z + 62)
    nose = radial(points, (0, 92, -52), (15, 15, 26))
    head = np.minimum(np.minimum(case - fat - 2, face), np.minimum(neck, nose))

    yield Material.AIR, -head
    yield from _orbits(points)
    sinuses, cells = _cavities(person, points, noise)
    inner = np.maximum(np.abs(cavity - 0.8) - 0.8, case)
    yield Material.COMPACT, inner
    yield Material.MUCOSA, np.maximum(np.maximum(sinuses, -sinuses - 1.2), noise.field(12))
    yield Material.AIR, np.maximum(np.minimum(sinuses, cells), -cavity)
    yield Material.COMPACT, _both(points, (36, -19, -41), (21, 8, 8))
    yield from _brain(person, points, cavity, noise)

    shell = np.maximum(case, -cavity)
    base = np.maximum(np.maximum(case, floor - 5), -cavity)
    bone = np.minimum(np.maximum(shell, floor), base)
    table = np.float32(0.5 * (1 - person.spongy)) * thickness
    yield Material.SPONGY, np.maximum(np.abs(case + thickness / 2) - thickness / 2 + table, floor)
    yield Material.COMPACT, bone
    facial = _facial_bones(points, sinuses, cells, noise)
    yield Material.SPONGY, facial + 1.6
    yield Material.COMPACT, facial
    yield Material.SKIN, np.maximum(head, -head - 2)
    muscles = np.minimum(
        _both(points, (63, 16, -14), (11, 34, 36)), _both(points, (58, 14, -84), (9, 18, 32))
    )
    deep = np.maximum(np.minimum(face, neck) + 5, noise.field(16) * 7 - 3)
    yield Material.MUSCLE, np.maximum(np.minimum(muscles, deep), head + 2)
    yield Material.LIPID, head


def _bumps(person: LevelPerson, points: Points) -> Array:
    """Return how far the braincase's surface is moved outwards, in mm."""
    x, y, z = (p / np.float32(80) for p in points)
    harmonics = (y, z, x * x - y * y, y * z, z * z - x * x, y * y * y)
    scale = np.float32(80)
    total: Array = sum(
        np.float32(b) * scale * h for b, h in zip(person.bumps, harmonics, strict=True)
    )
    return total.clip(-6, 6)


def _orbits(points: Points) -> Iterator[tuple[Material, Array]]:
    eye, orbit = (_both(points, (31, y, -30), (r, r, r)) for y, r in ((68, 12), (58, 18)))
    yield Material.FLUID, eye + 1
    yield Material.SKIN, eye
    x, y, z = points
    nerve = np.maximum(
        np.hypot(np.abs(x) - 31 + 0.35 * (58 - y), z + 30) - 2.5, np.abs(y - 40) - 18
    )
    yield Material.WHITE, nerve
    yield Material.LIPID, orbit
    yield Material.COMPACT, np.maximum(orbit - 1.5, y - 66)


def _cavities(person: LevelPerson, points: Points, noise: _Noise) -> tuple[Array, Array]:
    """Return distances to the air of the sinuses, and of passages and cells that noise divides."""
    x, y, z = points
    maxillary, frontal, sphenoid = person.sinuses
    sinuses = np.minimum(
        _both(points, (26, 46, -62), (13 * maxillary, 15 * maxillary, 17 * maxillary)),
        np.minimum(
            _both(points, (11, 80, -6), (12 * frontal, 5, 14 * frontal)),
            _both(points, (7, 14, -39), (7, 11 * sphenoid, 9 * sphenoid)),
        ),
    )
    passages = radial(points, (0, 52, -58), (15, 36, 25))
    mastoid = _both(points, (57, -29, -51), (10, 12, 16))
    cells = np.maximum(np.minimum(passages, mastoid), -noise.sheet(9, 1.3))
    pharynx = np.maximum(np.hypot(x / 1.6, y - 8 - 0.06 * (z + 90)) - 6.5, z + 62)
    canals = np.maximum(np.hypot(y + 14, z + 43) - 3, np.abs(np.abs(x) - 68) - 22)
    return sinuses, np.minimum(np.minimum(cells, pharynx), canals)


def _facial_bones(points: Points, sinuses: Array, cells: Array, noise: _Noise) -> Array:
    x, y, z = points
    walls = np.maximum(np.minimum(sinuses, cells) - 1.6, radial(points, (0, 40, -50), (46, 52, 42)))
    jaw = np.maximum(np.abs(np.hypot(x / 0.8, y - 22) - 52) - 5.5, np.abs(z + 118) - 13)
    jaw = np.maximum(jaw, 6 - y)
    alveoli = np.maximum(np.abs(np.hypot(x / 0.65, y - 38) - 41) - 6, np.abs(z + 93) - 12)
    alveoli = np.maximum(alveoli, 36 - y)
    rami = _both(points, (51, 6, -88), (4.5, 16, 36))
    cheek = np.maximum(noise.sheet(22, 2.2), _both(points, (44, 54, -48), (24, 22, 22)))
    spine = np.maximum(np.hypot(x, y + 20) - 13, z + 72)
    arch = np.maximum(np.abs(np.hypot(x, y + 32) - 16) - 4, z + 74)
    gaps = np.abs(np.sin(z * np.float32(np.pi / 19))) * 6 - 1.2
    spine = np.maximum(np.minimum(spine, arch), -gaps)
    bones = walls
    for other in (jaw, alveoli, rami, cheek, spine):
        bones = np.minimum(bones, other)
    return bones


def _brain(
    person: LevelPerson, points: Points, cavity: Array, noise: _Noise
) -> Iterator[tuple[Material, Array]]:
    x, y, z = points
    size = np.float32(person.ventricles)
    horns = np.maximum(
        np.hypot(np.abs(x) - 9, z - 16 + 0.01 * (y + 6) ** 2) - 6 * size, np.abs(y + 4) - 34
    )
    third = radial(points, (0, -10, 0), (3, 15, 10))
    yield Material.FLUID, np.minimum(horns, third) + noise.field(12)
    canal = np.maximum(np.hypot(x, y + 32) - 9, z + 45)
    cord = np.maximum(np.hypot(x, y + 31) - 6, z + 30)
    yield Material.WHITE, cord
    depth = -cavity - person.fluid_mm * np.exp(0.3 * noise.field(25))
    half = np.float32(0.3 * person.fluid_mm)
    furrow = np.maximum(noise.sheet(6, float(half)), depth - 20)
    cleft = np.maximum(np.abs(x) - half, 22 - np.hypot(z, y / 2))
    outside = np.minimum(depth, np.minimum(furrow, cleft))
    grey = np.maximum(3.6 - outside, cavity)
    nuclei = np.minimum(
        _both(points, (12, -16, 4), (8, 13, 9)), _both(points, (25, 5, 2), (7, 17, 11))
    )
    yield Material.CORTEX, np.maximum(nuclei, cavity)
    yield Material.WHITE, grey
    yield Material.CORTEX, np.maximum(-outside, cavity)
    yield Material.FLUID, np.minimum(cavity, canal)
