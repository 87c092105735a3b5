"""One synthetic head: which tissue fills how much of every voxel, as a pure function of parameters.

Template space: x right, y front, z up, in mm, with its origin between the thalami of an average
adult. Dimensions are rounded from anatomy atlases by eye, not fitted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.brain import CEREBRUM, brain_layers
from data_prep.phantom.oddities import odd_layers, odd_region
from data_prep.phantom.person import Subject
from data_prep.phantom.shapes import (
    Arch,
    Array,
    Capsule,
    Ellipsoid,
    PhantomFrame,
    Shape,
    blend_distances,
    mirror_shape,
    rotation_matrix,
    smooth_noise,
)
from data_prep.phantom.tissue import NUM_ORDINARY, Tissue
from mrct.imaging.volume import Affine

LOW_MM, HIGH_MM = (-104.0, -132.0, -100.0), (104.0, 136.0, 108.0)
"""The box of the world, (x, y, z) in mm, in which a head is made; its neck leaves it below."""

CAVITY_BASE: list[Shape] = [
    *mirror_shape(Ellipsoid((40, -2, -24), (26, 33, 24))),
    Ellipsoid((0, -48, -32), (56, 43, 33)),
    Capsule((0, -16, -28), (0, -26, -64), 14),
]
CANAL = Capsule((0, -27, -60), (0, -33, -150), 9)
ORBITS: list[Shape] = [
    *mirror_shape(Ellipsoid((31, 55, -32), (18, 21, 17))),
    *mirror_shape(Capsule((25, 42, -31), (15, 22, -29), 5)),
]
EYES = mirror_shape(Ellipsoid((32, 70, -32), (12, 12, 12)))
LENSES = mirror_shape(Ellipsoid((32, 78, -32), (4.5, 2.2, 4.5)))
OPTIC_NERVES = mirror_shape(Capsule((31, 55, -32), (13, 20, -28), 2.2))
EYE_MUSCLES: list[Shape] = [
    *mirror_shape(Capsule((41, 60, -32), (18, 27, -30), 1.8)),
    *mirror_shape(Capsule((21, 60, -32), (15, 27, -30), 1.8)),
    *mirror_shape(Capsule((31, 60, -22), (17, 27, -28), 1.8)),
    *mirror_shape(Capsule((31, 60, -42), (17, 27, -32), 1.8)),
]
TURBINATES: list[Shape] = [
    Ellipsoid((0, 55, -60), (1.0, 40, 24)),
    *mirror_shape(Capsule((9, 34, -69), (9, 72, -69), 3.2)),
    *mirror_shape(Capsule((8, 36, -56), (8, 68, -56), 2.4)),
]
AIRWAYS: list[Shape] = [
    *mirror_shape(Ellipsoid((7, 53, -61), (6.5, 34, 20))),
    *mirror_shape(Capsule((6, 84, -72), (7, 99, -77), 3.5)),
    Ellipsoid((0, 14, -72), (13, 9, 15)),
    Capsule((0, 5, -84), (0, 1, -150), 6.5),
    Ellipsoid((0, 48, -89), (18, 26, 1.6)),
    *mirror_shape(Capsule((45, -12, -43), (90, -15, -44), 3.2)),
]
FACE_BONES: list[Shape] = [
    *mirror_shape(Ellipsoid((24, 51, -66), (20, 22, 23))),
    *mirror_shape(Ellipsoid((13, 79, -8), (17, 9, 13))),
    *mirror_shape(Ellipsoid((8, 46, -33), (11, 24, 11))),
    Ellipsoid((0, 14, -38), (20, 14, 13)),
    *mirror_shape(Capsule((3, 86, -26), (5, 92, -42), 2.2)),
    *mirror_shape(Ellipsoid((46, 58, -52), (10, 9, 9))),
    *mirror_shape(Capsule((52, 52, -53), (67, 22, -50), 3.2)),
    *mirror_shape(Capsule((67, 22, -50), (64, -4, -46), 3.2)),
    *mirror_shape(Capsule((47, 60, -48), (48, 60, -18), 3.5)),
    *mirror_shape(Capsule((14, 78, -14), (47, 61, -17), 4)),
    Ellipsoid((0, 54, -82), (24, 32, 3.5)),
    Arch((0, 40, -87), (26, 43), 5.0, 6),
    Arch((0, 28, -125), (42, 53), 6.0, 13),
    *mirror_shape(Capsule((44, 28, -122), (50, 4, -112), 6)),
    *mirror_shape(Ellipsoid((50, 8, -88), (4.5, 17, 38))),
    *mirror_shape(Ellipsoid((50, -4, -52), (9, 5, 6))),
    *mirror_shape(Ellipsoid((16, 24, -66), (2.5, 9, 18))),
    *mirror_shape(Ellipsoid((57, -30, -55), (12, 14, 19))),
    *mirror_shape(Ellipsoid((21, -26, -78), (11, 11, 8))),
    *mirror_shape(Capsule((19, -34, -80), (0, -46, -80), 3.5)),
    *mirror_shape(Capsule((14, -16, -80), (0, -8, -80), 3.5)),
    *mirror_shape(Capsule((30, -26, -78), (40, -26, -78), 4)),
    Capsule((0, -14, -74), (0, -14, -100), 5),
    Ellipsoid((0, -15, -104), (17, 9, 11)),
    *mirror_shape(Ellipsoid((18, -28, -100), (9, 9, 8))),
    *mirror_shape(Capsule((16, -36, -100), (0, -50, -102), 3.5)),
    Capsule((0, -48, -102), (0, -66, -106), 4),
    Ellipsoid((0, -16, -124), (16, 9, 7)),
]
PETROUS = mirror_shape(Capsule((20, -10, -38), (52, -26, -42), 7))
TEETH: list[Shape] = [Arch((0, 40, -97), (26, 43), 3.4, 5), Arch((0, 38, -107.5), (24, 42), 3.0, 5)]
MUSCLES: list[Shape] = [
    *mirror_shape(Ellipsoid((62, 18, -20), (12, 36, 36))),
    *mirror_shape(Ellipsoid((59, 16, -84), (7, 17, 30))),
    *mirror_shape(Ellipsoid((34, 14, -72), (11, 16, 20))),
    Ellipsoid((0, 46, -108), (21, 32, 17)),
    *mirror_shape(Ellipsoid((20, -62, -100), (19, 20, 60))),
    *mirror_shape(Capsule((52, -30, -70), (40, 0, -150), 9)),
    Capsule((0, 88, -40), (0, 98, -64), 6),
    Ellipsoid((0, 96, -67), (15, 14, 9)),
    Ellipsoid((0, 84, -100), (26, 9, 15)),
    Ellipsoid((0, 82, -124), (18, 7, 14)),
    *mirror_shape(Ellipsoid((34, 82, -32), (17, 6, 15))),
]
FACE: list[Shape] = [
    Ellipsoid((0, 31, -66), (62, 62, 72)),
    *mirror_shape(Ellipsoid((52, 20, -52), (21, 42, 40))),
    *mirror_shape(Ellipsoid((62, 14, -16), (13, 38, 34))),
    Ellipsoid((0, 62, -118), (30, 28, 24)),
    Capsule((0, -24, -70), (0, -34, -190), 57),
    Ellipsoid((0, 88, -102), (25, 9, 13)),
]
NOSE: list[Shape] = [
    Capsule((0, 82, -28), (0, 97, -62), 10),
    Ellipsoid((0, 98, -67), (16, 13, 10)),
    Ellipsoid((0, 88, -64), (22, 14, 16)),
]
EARS = mirror_shape(Ellipsoid((80, -22, -42), (4.5, 15, 29)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Anatomy:
    """One head in the world of a scanner, before anything is measured."""

    fractions: NDArray[np.float32]
    """[tissue, z, y, x], the part of each voxel that each Tissue fills; sums to 1 over tissues. An
    ordinary head has the first ten tissues only."""
    affine: Affine
    """[4, 4], (x, y, z, 1) voxel indices to RAS mm."""
    odd: NDArray[np.bool_] | None = None
    """[z, y, x], where the subject's oddity is; None if it has none, or one that is everywhere."""


def make_anatomy(subject: Subject, *, spacing_mm: float) -> Anatomy:
    """Generate one head. The same subject at another spacing differs in its fine detail.

    Partial volume is computed from the distances: a voxel on a surface has a linear share of both
    sides. It takes about half a second of one core at 2 mm.
    """
    rng = np.random.Generator(np.random.Philox(subject.texture_seed))
    space, affine = _frame(subject, rng, spacing_mm)
    num_tissues = NUM_ORDINARY if subject.oddity == "none" else len(Tissue)
    fractions = np.zeros((num_tissues, *space.shape), np.float32)
    left = np.ones(space.shape, np.float32)
    for tissue, distance in _layers(subject, space, rng, spacing_mm):
        visible = np.clip(0.5 - distance / np.float32(spacing_mm), 0, 1)
        visible *= left
        fractions[tissue] += visible
        left -= visible
    fractions[Tissue.AIR] += left
    return Anatomy(fractions=fractions, affine=affine, odd=odd_region(subject.oddity, space))


def _frame(
    subject: Subject, rng: np.random.Generator, spacing_mm: float
) -> tuple[PhantomFrame, Affine]:
    """Return the voxels of the world and their positions in the template."""
    shape_xyz = np.ceil(np.subtract(HIGH_MM, LOW_MM) / spacing_mm).astype(int)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = LOW_MM
    pose = np.eye(4)
    pose[:3, :3] = rotation_matrix(subject.turn_deg) @ np.diag(subject.scale)
    pose[:3, 3] = subject.shift_mm
    to_template = (np.linalg.inv(pose) @ affine).astype(np.float32)

    x, y, z = (np.arange(n, dtype=np.float32) for n in shape_xyz)
    nz, ny, nx = (int(n) for n in shape_xyz[::-1])
    points = []
    for row in to_template[:3]:
        plane = row[2] * z[:, None, None] + row[1] * y[:, None] + row[0] * x + row[3]
        points.append(plane + subject.elastic_mm * smooth_noise(rng, (nz, ny, nx), spacing_mm, 50))
    slack = 4 * subject.elastic_mm / spacing_mm
    space = PhantomFrame(
        points=(points[0], points[1], points[2]),
        to_voxel=np.linalg.inv(affine) @ pose,
        slack=slack,
    )
    return space, affine


def _layers(
    subject: Subject, space: PhantomFrame, rng: np.random.Generator, spacing_mm: float
) -> Iterator[tuple[Tissue, Array]]:
    """Yield (tissue, signed distance in mm), front layer first; earlier layers hide later ones."""
    x, y, z = space.points

    def noise(knot_mm: float) -> Array:
        return smooth_noise(rng, space.shape, spacing_mm, knot_mm)

    # The cavity: a dome on a stepped floor (front, middle, and rear fossa), and the spinal canal.
    dome = CEREBRUM.distance((x, y, z))
    floor = -13 - np.float32(0.15) * (50 - y) - z
    dome = -blend_distances(-dome, -floor, 10)
    cavity = blend_distances(dome, space.union(CAVITY_BASE, blend=8, margin=30), 8)
    canal = space.union([CANAL])
    inside = np.minimum(cavity, canal)

    thickness = subject.skull_mm + np.float32(0.8) * noise(35)
    # The temporal squama is thin.
    thickness -= 3 * np.exp(-(((np.abs(x) - 68) / 16) ** 2 + ((z + 12) / 22) ** 2))
    vault = np.maximum(cavity - thickness, -cavity)

    fat = subject.fat_mm * (1 + np.float32(0.2) * noise(30))
    scalp = cavity - thickness - fat - 3
    head = blend_distances(scalp, space.union(FACE, blend=14, margin=30), 14)
    head = blend_distances(head, space.union(NOSE, blend=6, margin=12), 6)
    head = np.minimum(head, space.union(EARS))

    yield Tissue.AIR, -head
    yield from _eyes(space, head)
    sinuses, septa = _sinuses(subject, space, noise(5), spacing_mm)
    air = np.maximum(np.minimum(space.union(AIRWAYS), sinuses), -cavity)
    yield from odd_layers(subject.oddity, space, np.maximum(cavity - thickness, -cavity), air)
    yield Tissue.MUSCLE, space.union(TURBINATES)
    # The innermost table stays whole, whatever sinus or ear lies against it.
    yield Tissue.BONE, np.maximum(np.abs(cavity - 0.7) - 0.7, -canal - 1)
    yield Tissue.AIR, air
    yield Tissue.BONE, np.minimum(septa, space.union(PETROUS))
    yield from brain_layers(
        space,
        inside,
        rng,
        spacing_mm=spacing_mm,
        cortex_mm=subject.cortex_mm,
        fluid_mm=subject.fluid_mm,
        ventricle_scale=subject.ventricle_scale,
    )

    gaps = np.abs(np.sin(np.arctan2(x, y - 20) * 16)) * 3.5
    yield Tissue.TOOTH, np.maximum(space.union(TEETH), 0.5 - gaps)
    bone = blend_distances(vault, space.union(FACE_BONES, blend=2), 3)
    yield Tissue.MARROW, bone + subject.table_mm
    yield Tissue.BONE, bone

    yield Tissue.SKIN, np.maximum(head, -head - 2)
    galea = np.abs(cavity - thickness - np.float32(0.6)) - np.float32(0.6)
    yield Tissue.MUSCLE, galea
    planes = np.abs(noise(14)) * 8 - np.float32(1.0)
    muscles = np.minimum(space.union(MUSCLES), head + 2 + 1.4 * fat)
    yield Tissue.MUSCLE, np.maximum(muscles, -planes)
    yield Tissue.FAT, head


def _eyes(space: PhantomFrame, head: Array) -> Iterator[tuple[Tissue, Array]]:
    """Yield the layers inside and around the orbits."""
    orbit = space.union(ORBITS, blend=6)
    eyes = space.union(EYES)
    yield Tissue.MUSCLE, space.union(LENSES)
    yield Tissue.CSF, eyes + 1
    yield Tissue.SKIN, eyes
    yield Tissue.WHITE, space.union(OPTIC_NERVES)
    yield Tissue.MUSCLE, np.maximum(space.union(EYE_MUSCLES), orbit)
    yield Tissue.FAT, np.maximum(orbit, head + 2.5)
    yield Tissue.BONE, np.maximum(orbit - 1.4, np.maximum(head + 8, space.points[1] - 66))


def _sinuses(
    subject: Subject, space: PhantomFrame, cells: Array, spacing_mm: float
) -> tuple[Array, Array]:
    """Return distances to the air of the sinuses and to the bony septa within them."""
    s = subject.sinus_scale
    open_: list[Shape] = [
        *mirror_shape(Ellipsoid((25, 48, -63), (13.5 * s, 16 * s, 17 * s))),
        *mirror_shape(Ellipsoid((11, 81, -6), (11 * s, 4.5, 12 * s))),
        *mirror_shape(Ellipsoid((8, 15, -38), (7.2, 11 * s, 9 * s))),
    ]
    celled: list[Shape] = [
        *mirror_shape(Ellipsoid((8, 46, -34), (7, 20, 9))),
        *mirror_shape(Ellipsoid((57, -29, -53), (9 * s, 11 * s, 15 * s))),
    ]
    honeycomb = space.union(celled)
    walls = np.abs(cells) * 3 - np.float32(0.7)
    air = np.minimum(space.union(open_), np.maximum(honeycomb, -walls))
    return air, np.maximum(honeycomb, walls)
