"""Scans of a `LevelHead`: other sequence, noise, coil and CT than those of `scanner`.

T1, T2* and densities at 3 T: Wansapura 1999 (JMRI 9:531) and Stanisz 2005 (MRM 54:507) for brain
and muscle, Bojorquez 2017 (MRI 35:69) for fat, and orders of magnitude for bone, mucosa and skin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from data_prep.phantom.level_head import LevelHead, Material
from data_prep.phantom.scanner import sample_on_grid
from data_prep.phantom.shapes import Array
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.volume import Grid

NUM_COILS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """Of one material, for both scanners."""

    hu: float
    t1_ms: float = 1000.0
    t2star_ms: float = 0.3
    density: float = 0.0
    """Of protons, relative to water."""


VALUES = {
    Material.AIR: Values(hu=-1000),
    Material.SKIN: Values(hu=45, t1_ms=1100, t2star_ms=22, density=0.8),
    Material.LIPID: Values(hu=-100, t1_ms=370, t2star_ms=40, density=0.95),
    Material.MUSCLE: Values(hu=58, t1_ms=1420, t2star_ms=28, density=0.95),
    Material.COMPACT: Values(hu=1250, t1_ms=200, t2star_ms=0.5, density=0.25),
    Material.SPONGY: Values(hu=480, t1_ms=420, t2star_ms=11, density=0.8),
    Material.FLUID: Values(hu=10, t1_ms=4000, t2star_ms=200, density=1.0),
    Material.CORTEX: Values(hu=37, t1_ms=1330, t2star_ms=45, density=0.84),
    Material.WHITE: Values(hu=29, t1_ms=830, t2star_ms=45, density=0.72),
    Material.MUCOSA: Values(hu=35, t1_ms=1500, t2star_ms=20, density=0.9),
}


def inversion_recovery(
    t1_ms: NDArray[np.float64], *, tr_ms: float, ti_ms: float
) -> NDArray[np.float64]:
    """Return the magnitude of the longitudinal magnetisation at the inversion time.

    M = |1 - 2 exp(-TI / T1) + exp(-TR / T1)|, of an MPRAGE without its read-out (Mugler and
    Brookeman 1990, MRM 15:152).
    """
    magnitude: NDArray[np.float64] = np.abs(1 - 2 * np.exp(-ti_ms / t1_ms) + np.exp(-tr_ms / t1_ms))
    return magnitude


def scan_level_mri(head: LevelHead, grid: Grid, rng: np.random.Generator) -> Array:
    """Simulate a T1-weighted inversion recovery, float32 [z, y, x], in arbitrary units.

    The coil's sensitivity is a random quadratic; noise is that of the root of the sum of squares of
    four coils (noncentral chi; Constantinides 1997, MRM 38:852).
    """
    values = [VALUES[material] for material in Material]
    t1_ms = np.array([v.t1_ms for v in values]) * rng.normal(1, 0.08, len(values))
    signals = inversion_recovery(t1_ms, tr_ms=rng.uniform(1900, 2500), ti_ms=rng.uniform(850, 1000))
    te_ms = rng.uniform(2.0, 4.0)
    signals *= [v.density * np.exp(-te_ms / v.t2star_ms) for v in values]
    image = np.tensordot(signals.astype(np.float32), head.fractions, axes=1)
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in image.shape)]
    a, b, c, d, e = rng.normal(0, 0.15, 5)
    image *= np.exp(a * x + b * y + c * z + d * (x * x + y * y) + e * z * z).astype(np.float32)
    sigma = float(signals[Material.WHITE]) / rng.uniform(14, 28)
    coil = sample_on_grid(image, head.affine, grid) / np.float32(np.sqrt(NUM_COILS))
    squares = np.zeros(coil.shape, np.float32)
    for _ in range(NUM_COILS):
        real, imaginary = rng.standard_normal((2, *coil.shape), np.float32) * np.float32(sigma)
        squares += (coil + real) ** 2 + imaginary**2
    scanned: Array = np.sqrt(squares) * np.float32(np.exp(rng.uniform(6, 9)))
    return scanned


def scan_level_ct(head: LevelHead, grid: Grid, rng: np.random.Generator) -> Array:
    """Simulate a CT, float32 [z, y, x], in HU within [-1024, 3071].

    The mineral of bone varies within a head and between heads; noise is correlated over voxels, as
    a soft kernel leaves it.
    """
    hu = np.array([VALUES[material].hu for material in Material], np.float64)
    hu[[Material.COMPACT, Material.SPONGY]] *= rng.normal(1, 0.1, 2)
    image = np.tensordot(hu.astype(np.float32), head.fractions, axes=1)
    mineral = sum(
        np.float32(hu[material]) * head.fractions[material]
        for material in (Material.COMPACT, Material.SPONGY)
    )
    image += mineral * (head.density - 1)
    scanned = sample_on_grid(image, head.affine, grid)
    noise = gaussian_filter(rng.standard_normal(scanned.shape, np.float32), 0.7)
    scanned += noise * np.float32(rng.uniform(8, 18) / noise.std())
    return np.clip(scanned, *WINDOW_HU)
