"""The inside of the skull: folded cortex, white matter, nuclei, ventricles, cerebellum, stem.

Its input is the cranial cavity, its output the layers that fill it.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import map_coordinates

from data_prep.phantom.shapes import (
    FAR,
    Array,
    Capsule,
    Ellipsoid,
    PhantomFrame,
    Shape,
    mirror_shape,
    smooth_noise,
)
from data_prep.phantom.tissue import Tissue

CEREBRUM = Ellipsoid((0, -6, 6), (66, 84, 68))
CEREBELLUM = Ellipsoid((0, -50, -37), (51, 37, 25))
STEM: list[Shape] = [
    Capsule((0, -14, -6), (0, -19, -26), 10),
    Ellipsoid((0, -15, -33), (16, 14, 13)),
    Capsule((0, -20, -40), (0, -27, -64), 7),
    Capsule((0, -27, -64), (0, -33, -150), 5.5),
]
CISTERNS: list[Shape] = [
    Ellipsoid((0, 6, -15), (13, 10, 8)),
    *mirror_shape(Capsule((8, 0, -14), (17, -18, -12), 3)),
    Ellipsoid((0, -33, -4), (13, 6, 7)),
]
CORE = Ellipsoid((0, -8, 3), (33, 50, 25))
"""Nuclei, ventricles and callosum: no sulcus runs here."""
NUCLEI: list[Shape] = [
    *mirror_shape(Ellipsoid((10, -17, 4), (8, 14, 9))),
    *mirror_shape(Ellipsoid((13, 19, 9), (6, 10, 9))),
    *mirror_shape(Ellipsoid((25, 4, 1), (6, 18, 11))),
]
VENTRICLES: list[Shape] = [
    *mirror_shape(Capsule((5, 30, 8), (7, 8, 18), 5.0)),
    *mirror_shape(Capsule((7, 8, 18), (10, -26, 20), 5.0)),
    *mirror_shape(Capsule((10, -26, 20), (22, -44, 8), 6.0)),
    *mirror_shape(Capsule((22, -44, 8), (22, -62, 3), 3.0)),
    *mirror_shape(Capsule((22, -44, 8), (31, -24, -16), 2.5)),
    *mirror_shape(Capsule((31, -24, -16), (30, 0, -24), 2.0)),
    Ellipsoid((0, -10, -1), (2.5, 15, 10)),
    Ellipsoid((0, -33, -33), (8, 5, 9)),
]


def brain_layers(
    space: PhantomFrame,
    cavity: Array,
    rng: np.random.Generator,
    *,
    spacing_mm: float,
    cortex_mm: float,
    fluid_mm: float,
    ventricle_scale: float,
) -> Iterator[tuple[Tissue, Array]]:
    """Yield (tissue, signed distance in mm), front layer first, of all that fills `cavity`.

    Args:
        space: where the voxels are.
        cavity: [z, y, x], distance to the inner surface of the skull and the spinal canal.
        rng: decides the course of the sulci.
        spacing_mm: voxel size of the grid.
        cortex_mm: thickness of the grey ribbon.
        fluid_mm: between skull and brain; sulci and fissures widen with it.
        ventricle_scale: 1 for a young adult.
    """
    x, y, z = space.points
    fluid_wave = smooth_noise(rng, space.shape, spacing_mm, 30)
    depth = -cavity - fluid_mm * (1 + np.float32(0.3) * fluid_wave)

    stem = space.union(STEM, blend=4, margin=10)
    cerebellum = np.maximum(space.union([CEREBELLUM], margin=25), -depth)
    hindbrain = np.minimum(stem, cerebellum)
    # The stem runs on into the thalami; only below them is there fluid around it.
    spared = np.minimum(np.maximum(hindbrain - 2.5, z + 7), space.union(CISTERNS, blend=3))
    cerebrum = np.minimum(depth, spared)

    # Fissures are sheets of fluid: between the hemispheres down to the corpus callosum, and above
    # the temporal lobes in to the insula.
    callosum = Ellipsoid((0, -8, 0), (1e4, 46, 27)).distance((x, y, z))
    half = np.float32(0.35 * fluid_mm)
    midline = np.hypot(x, np.maximum(-callosum, 0)) - half
    sylvian = np.sqrt(
        (z + 7 + 0.35 * y) ** 2
        + np.maximum(34 - np.abs(x), 0) ** 2
        + np.maximum(np.abs(y - 6) - 30, 0) ** 2
    )
    bare = np.minimum(cerebrum, np.minimum(midline, sylvian - 2 * half))

    # Sulci: zero surfaces of noise that hardly changes along the radius, so that they stand
    # upright on the surface of the brain, and reach 17 mm into it, but not into its core.
    core = -CORE.distance((x, y, z))
    sheet = _sheets(space, CEREBRUM, rng, knot_mm=7.0, spacing_mm=spacing_mm, radial=0.45)
    sulci = np.hypot(sheet, np.maximum(np.maximum(bare - 17, core), 0)) - half
    outside = np.minimum(bare, sulci)

    yield Tissue.CSF, space.union(VENTRICLES, blend=2) - np.float32(1.5 * (ventricle_scale - 1))
    yield Tissue.GREY, space.union(NUCLEI, blend=2)
    yield Tissue.WHITE, np.float32(cortex_mm) - outside
    yield Tissue.GREY, -outside

    folia = _sheets(space, CEREBELLUM, rng, knot_mm=4.0, spacing_mm=spacing_mm, flat=2.5)
    leaves = np.minimum(-cerebellum, np.hypot(folia, np.maximum(-cerebellum - 12, 0)) - 0.3)
    yield Tissue.WHITE, np.maximum(stem, cavity)
    yield Tissue.WHITE, np.float32(2.2) - leaves
    yield Tissue.GREY, -leaves
    yield Tissue.CSF, cavity


def _sheets(
    space: PhantomFrame,
    within: Ellipsoid,
    rng: np.random.Generator,
    *,
    knot_mm: float,
    spacing_mm: float,
    radial: float = 0.0,
    flat: float = 1.0,
) -> Array:
    """Return the distance in mm to the zero surfaces of a noise: value over slope, [z, y, x].

    `radial` is how far the noise is stretched along the radius: 0 not at all, 1 infinitely. `flat`
    compresses it along z. The distance is computed near `within` and is FAR elsewhere.
    """
    lattice_mm = knot_mm / 4
    lattice = smooth_noise(rng, (96, 96, 96), lattice_mm, knot_mm)
    distance = np.full(space.shape, FAR)
    box = space.box(within, margin=8)
    x, y, z = (p[box] for p in space.points)
    radius = np.sqrt(x * x + (y * np.float32(0.8)) ** 2 + z * z) + 1
    stretch = (np.float32(60) / radius) ** np.float32(radial) / np.float32(lattice_mm)
    where = np.stack([z * stretch * np.float32(flat), y * stretch, x * stretch]) + np.float32(48)
    value = map_coordinates(lattice, where, order=1, mode="grid-wrap")
    slopes = np.gradient(value, spacing_mm)
    slope = np.sqrt(sum(s * s for s in slopes)) + np.float32(0.2 / knot_mm)
    distance[box] = np.minimum(np.abs(value) / slope, FAR)
    return distance
