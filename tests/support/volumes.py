"""Volumes on disk for tests: empty files of given names, and small NIfTI heads that convert."""

from pathlib import Path

import numpy as np

from data_prep.readers.nifti import read_nifti, write_nifti

SPACING_XYZ = (4.0, 3.5, 6.0)


def write_head(path: Path, modality: str, seed: int = 0, shift_mm: float = 0) -> Path:
    """Write one oblique head of about 150 x 180 mm, RAS axes; CT in HU, MRI in arbitrary units."""
    random = np.random.default_rng(seed)
    shape = (10, 64, 56)  # [z, y, x]
    turn = np.deg2rad(5)
    affine = np.eye(4)
    affine[:3, :3] = [
        [np.cos(turn), -np.sin(turn), 0],
        [np.sin(turn), np.cos(turn), 0],
        [0, 0, 1],
    ] @ np.diag(SPACING_XYZ)
    affine[:3, 3] = (-110 + shift_mm, -115, -30)
    z, y, x = np.indices(shape)
    mm = np.tensordot(affine, np.stack([x, y, z, np.ones_like(x)]), axes=1)
    depth = np.sqrt((mm[0] / 75) ** 2 + (mm[1] / 90) ** 2 + (mm[2] / 140) ** 2)
    layers = [depth < 0.8, depth < 0.9, depth < 1]
    values = {"mri": ([500, 60, 900], 0), "ct": ([35, 1200, -90], -1000)}[modality]
    voxels = np.select(layers, *values) + random.normal(0, 10, shape)
    if modality == "mri":
        voxels = np.abs(voxels)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, voxels.astype(np.int16), affine)
    return path


def touch_files(root: Path, *names: str) -> Path:
    """Make empty files below `root`, which is given back."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write_mask(path: Path, like: Path, *, inside: tuple[slice, slice, slice]) -> Path:
    """Write a mask [z, y, x] on the grid of a NIfTI volume, 1 in a box."""
    volume = read_nifti(like, modality="mri", pseudonym="p")
    voxels = np.zeros(volume.voxels.shape, np.uint8)
    voxels[inside] = 1
    write_nifti(path, voxels, volume.affine)
    return path
