"""Simulates MRI and CT scans of an anatomy: contrast, resolution, bias, noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from data_prep.phantom.anatomy import Anatomy
from data_prep.phantom.settings import Weighting
from data_prep.phantom.shapes import Array, smooth_noise
from data_prep.phantom.tissue import CONTRAST, NUM_ORDINARY, Contrast, Tissue
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.volume import Affine, Grid, spacing_of

FWHM_PER_SIGMA = 2.3548  # of a Gaussian: 2 sqrt(2 ln 2)
T2_TR_MS, T2_TE_MS = 4500.0, 95.0
HOLDER_HU = -150.0
"""A thin carbon shell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MriScan:
    """A T1-weighted spoiled gradient echo at 1.5 T (FLASH, SPGR, T1-FFE), unless weighted by T2."""

    tr_ms: float = 18.0
    te_ms: float = 5.0
    flip_deg: float = 30.0
    bias: float = 0.12
    """Standard deviation of the logarithm of the coil's sensitivity, features about 20 cm."""
    snr: float = 30.0
    """White matter's signal over the noise's standard deviation in one channel."""
    gain: float = 1e4
    """The scanner's own unit: what a signal of 1 (all protons, upright) becomes."""
    weighting: Weighting = "t1"
    """With `t2`, a fast spin echo (TR 4500 ms, TE 95 ms) in place of the gradient echo."""
    contrast_agent: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "MriScan":
        """Return a random protocol, as from different vendors and sites."""
        return cls(
            tr_ms=rng.uniform(15, 25),
            te_ms=rng.uniform(4, 7),
            flip_deg=rng.uniform(25, 35),
            bias=rng.uniform(0.06, 0.16),
            snr=rng.uniform(20, 45),
            gain=float(np.exp(rng.uniform(np.log(4e3), np.log(3e4)))),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CtScan:
    """A calibrated head CT."""

    noise_hu: float = 12.0
    """Standard deviation of the noise in a voxel."""
    holder: bool = False
    """Whether a head holder is in the image."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "CtScan":
        """Return a random protocol."""
        return cls(noise_hu=rng.uniform(6, 20), holder=bool(rng.random() < 0.5))


def spoiled_gradient_echo(
    t1_ms: Any, t2star_ms: Any, proton_density: Any, *, tr_ms: float, te_ms: float, flip_deg: float
) -> NDArray[np.float64]:
    """Return the steady-state signal of a spoiled gradient echo, relative to full magnetisation.

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2*), with E1 = exp(-TR / T1). It is largest
    at the Ernst angle, arccos(E1). Ernst and Anderson 1966, Rev Sci Instrum 37:93; Haase et al.
    1986, J Magn Reson 67:258.
    """
    angle = np.deg2rad(flip_deg)
    recovery = np.exp(-tr_ms / np.asarray(t1_ms, np.float64))
    steady = np.sin(angle) * (1 - recovery) / (1 - np.cos(angle) * recovery)
    decay = np.exp(-te_ms / np.asarray(t2star_ms, np.float64))
    return np.asarray(proton_density * steady * decay, np.float64)


def spin_echo(
    t1_ms: Any, t2_ms: Any, proton_density: Any, *, tr_ms: float, te_ms: float
) -> NDArray[np.float64]:
    """Return the signal of a spin echo, relative to full magnetisation.

    S = PD (1 - exp(-TR / T1)) exp(-TE / T2), for TE far below TR (Hahn 1950, Phys Rev 80:580).
    """
    recovery = 1 - np.exp(-tr_ms / np.asarray(t1_ms, np.float64))
    decay = np.exp(-te_ms / np.asarray(t2_ms, np.float64))
    return np.asarray(proton_density * recovery * decay, np.float64)


def rician(signal: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Return the magnitude of a signal with normal noise of `sigma` in both channels.

    Where there is no signal its mean is sigma sqrt(pi / 2). Gudbjartsson and Patz 1995, MRM 34:910.
    """
    real, imaginary = rng.standard_normal((2, *signal.shape), np.float32) * np.float32(sigma)
    magnitude: Array = np.hypot(signal + real, imaginary)
    return magnitude


def acquire_mri(anatomy: Anatomy, grid: Grid, scan: MriScan, rng: np.random.Generator) -> Array:
    """Simulate a magnitude image, float32 [z, y, x] on `grid`, in arbitrary units.

    T1 varies by 4 % between subjects. Flow, fat's chemical shift, and distortion at the sinuses
    are left out.
    """
    signals = _signals(_contrasts(anatomy), scan, rng)
    emitted = _mix(anatomy, signals)
    spacing_mm = spacing_of(anatomy.affine)[0]
    emitted *= np.exp(scan.bias * smooth_noise(rng, emitted.shape, spacing_mm, 100))
    sigma = float(signals[Tissue.WHITE]) / scan.snr
    return rician(sample_on_grid(emitted, anatomy.affine, grid), sigma, rng) * np.float32(scan.gain)


def acquire_ct(anatomy: Anatomy, grid: Grid, scan: CtScan, rng: np.random.Generator) -> Array:
    """Simulate a CT, float32 [z, y, x] on `grid`, in HU within [-1024, 3071].

    Every tissue's CT number varies between subjects by its spread. A voxel shows the mean of what
    it holds; noise is white and normal. Beam hardening, scatter, and metal are left out.
    """
    contrasts = _contrasts(anatomy)
    numbers = np.array([float(c.hu) for c in contrasts])
    ordinary = contrasts[:NUM_ORDINARY]
    numbers[:NUM_ORDINARY] = rng.normal([c.hu for c in ordinary], [c.hu_spread for c in ordinary])
    image = sample_on_grid(_mix(anatomy, numbers), anatomy.affine, grid)
    if scan.holder:
        shell = _holder(anatomy, grid)
        image += shell * (np.float32(HOLDER_HU) - image)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(scan.noise_hu)
    return np.clip(image, *WINDOW_HU)


def _contrasts(anatomy: Anatomy) -> list[Contrast]:
    return [CONTRAST[tissue] for tissue in list(Tissue)[: len(anatomy.fractions)]]


def _signals(
    contrasts: Sequence[Contrast], scan: MriScan, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the signal of each tissue, [tissues]; T1 of the ordinary ones varies."""
    t1_ms = np.array([c.t1_ms for c in contrasts])
    t1_ms[:NUM_ORDINARY] *= rng.normal(1, 0.04, NUM_ORDINARY)
    if scan.contrast_agent:
        t1_ms = 1 / (1 / t1_ms + np.array([c.agent_per_s for c in contrasts]) / 1000)
    density = np.array([c.proton_density for c in contrasts])
    if scan.weighting == "t2":
        t2_ms = np.array([c.t2_ms for c in contrasts])
        return spin_echo(t1_ms, t2_ms, density, tr_ms=T2_TR_MS, te_ms=T2_TE_MS)
    return spoiled_gradient_echo(
        t1_ms,
        np.array([c.t2star_ms for c in contrasts]),
        density,
        tr_ms=scan.tr_ms,
        te_ms=scan.te_ms,
        flip_deg=scan.flip_deg,
    )


def _mix(anatomy: Anatomy, values: NDArray[np.float64]) -> Array:
    """Return [z, y, x], the mean of the tissues' values in every voxel."""
    return np.tensordot(values.astype(np.float32), anatomy.fractions, axes=1)


def sample_on_grid(image: Array, affine: Affine, grid: Grid) -> Array:
    """Resample `image` to the voxels of `grid`: blurred to their size, then read at their centres.

    The point spread is a Gaussian as wide at half height as the voxel, along the image's axes.
    """
    own_mm = spacing_of(affine)[0]
    # wide_mm: per world axis, the size of the voxel side that runs along it
    sides = grid.affine[:3, :3]
    wide_mm = np.abs(sides[np.arange(3), np.abs(sides).argmax(1)])[::-1]
    sigmas = np.sqrt(np.maximum(wide_mm**2 - own_mm**2, 0)) / FWHM_PER_SIGMA / own_mm
    blurred = gaussian_filter(image, sigmas, mode="nearest", truncate=3)
    # way: indices of grid to indices of image, turned from (x, y, z) to (z, y, x) order
    way = np.linalg.inv(affine) @ grid.affine
    sampled: Array = affine_transform(
        blurred,
        way[2::-1, 2::-1],
        offset=way[2::-1, 3],
        output_shape=grid.shape,
        order=1,
        mode="nearest",
    )
    return sampled


def _holder(anatomy: Anatomy, grid: Grid) -> Array:
    """Return [z, y, x], the fraction of each voxel filled by a head holder, an arc behind the
    head."""
    radius_mm, gap_mm, thick_mm = 140.0, 9.0, 3.0
    head = anatomy.fractions[Tissue.AIR].min(axis=(0, 2)) < 0.5
    back_mm = anatomy.affine[1, 3] + anatomy.affine[1, 1] * float(head.argmax())
    z, y, x = np.ogrid[tuple(slice(n) for n in grid.shape)]
    a = grid.affine
    world_x = a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3]
    world_y = a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3] - (back_mm - gap_mm)
    distance = np.abs(np.hypot(world_x, world_y - radius_mm) - radius_mm) - thick_mm / 2
    arc = np.clip(0.5 - distance / min(grid.spacing_mm), 0, 1) * (world_y < radius_mm / 3)
    return np.asarray(arc, np.float32)
