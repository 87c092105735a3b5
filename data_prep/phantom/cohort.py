"""Generates a cohort of synthetic heads as NIfTI files with a manifest: unpaired scans for training
and aligned pairs for validation and test.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_prep.datasets.manifest import Row, write_manifest
from data_prep.datasets.split import Split
from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import CtScan, MriScan, acquire_ct, acquire_mri
from data_prep.phantom.settings import CohortSettings
from data_prep.phantom.shapes import Array, Point, rotation_matrix
from data_prep.readers.nifti import write_nifti
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid
from mrct.progress import progress
from mrct.storage.local_path import make_output_folder

AXES = {"R": (1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1), "L": (-1, 0, 0), "P": (0, -1, 0)}
ORIENTATIONS: dict[Modality, tuple[str, ...]] = {
    "mri": ("LPS", "RAS", "LAS", "PSR", "LSP"),
    "ct": ("LPS", "RAS", "RPS"),
}
"""How volumes are stored: where the first, second and third (slice) index points to."""
SCAN_DTYPES: dict[Modality, tuple[str, ...]] = {
    "mri": ("uint16", "int16", "float32"),
    "ct": ("int16", "int16", "float32"),
}
THIN = 0.6
"""Thickness of sagittal and coronal slices (of 3D scans) relative to axial ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Visit:
    """One subject and the scans taken of it."""

    index: int
    split: Split
    modalities: tuple[Modality, ...]


def make_cohort(
    out: Path, *, settings: CohortSettings, seed: int, num_workers: int | None = None
) -> Path:
    """Write `mri/*.nii.gz`, `ct/*.nii.gz` and, last, `manifest.csv` under `out`.

    Every voxel depends on `settings`, `seed`, and the subject's number only, not on the number
    of workers.

    Args:
        out: a folder; made where it is missing. Files of the same names are replaced.
        settings: what to make.
        seed: at least 0.
        num_workers: processes to use; None is one per usable core, 1 stays in this process.

    Returns:
        The path of the manifest.
    """
    for modality in ORIENTATIONS:
        make_output_folder(out / modality)
    visits = _plan(settings)
    work = partial(_scan_subject, out, settings, seed)
    num_workers = min(num_workers or len(os.sched_getaffinity(0)), len(visits))
    rows: list[Row] = []
    with progress("phantom heads", len(visits)) as advance:
        if num_workers <= 1:
            for visit in visits:
                rows += work(visit)
                advance()
        else:
            # Spawn: the caller may hold threads (Ray, DALI, torch) that a fork would break.
            with ProcessPoolExecutor(num_workers, get_context("spawn")) as pool:
                for scans in pool.map(work, visits):
                    rows += scans
                    advance()
    manifest = out / "manifest.csv"
    write_manifest(manifest, rows)
    return manifest


def _plan(settings: CohortSettings) -> list[_Visit]:
    groups: list[tuple[int, Split, tuple[Modality, ...]]] = [
        (settings.num_train_mri, "train", ("mri",)),
        (settings.num_train_ct, "train", ("ct",)),
        (settings.num_val, "val", ("mri", "ct")),
        (settings.num_test, "test", ("mri", "ct")),
    ]
    people = [group[1:] for group in groups for _ in range(group[0])]
    return [
        _Visit(index=index, split=split, modalities=modalities)
        for index, (split, modalities) in enumerate(people)
    ]


def _scan_subject(out: Path, settings: CohortSettings, seed: int, visit: _Visit) -> list[Row]:
    """Generate one head, scan it and write the scans, from random numbers of (seed, index) only."""
    name = f"phantom-{visit.index:04d}"
    rng = _generator(seed, visit.index)
    subject = Subject.draw(rng)
    anatomy = make_anatomy(subject, spacing_mm=settings.anatomy_mm)
    rows = []
    for modality in visit.modalities:
        rng = _generator(seed, visit.index, 1 + list(ORIENTATIONS).index(modality))
        grid = _draw_grid(rng, modality, settings, centre_mm=subject.shift_mm)
        if modality == "mri":
            voxels = acquire_mri(anatomy, grid, MriScan.draw(rng), rng)
        else:
            voxels = acquire_ct(anatomy, grid, CtScan.draw(rng), rng)
        dtype = np.dtype(rng.choice(SCAN_DTYPES[modality]))
        path = out / modality / f"{name}.nii.gz"
        write_nifti(path, _stored(voxels, dtype), grid.affine)
        pair = name if len(visit.modalities) > 1 else None
        rows.append(Row(path=path, modality=modality, subject=name, split=visit.split, pair=pair))
    return rows


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _stored(voxels: Array, dtype: np.dtype[np.generic]) -> np.ndarray:
    return np.rint(voxels).astype(dtype) if dtype.kind in "iu" else voxels.astype(dtype)


def _draw_grid(
    rng: np.random.Generator, modality: Modality, settings: CohortSettings, centre_mm: Point
) -> Grid:
    """Return the grid of one scan: its own spacing, storage order, and a few degrees of tilt."""
    order = str(rng.choice(ORIENTATIONS[modality]))
    axial = order.endswith("S")
    slice_mm = settings.slice_mm * (1 if axial else THIN)
    sizes = np.array([settings.in_plane_mm, settings.in_plane_mm, slice_mm])
    sizes = sizes * rng.uniform(0.8, 1.2, 2)[[0, 0, 1]]
    # directions: [3 world, 3 stored], one unit vector per stored axis
    directions = np.array([AXES[letter] for letter in order], np.float64).T
    counts = np.ceil(np.abs(directions.T) @ settings.fov_mm / sizes).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(tuple(rng.normal(0, (3, 2, 2)))) @ directions * sizes
    centre = np.add(centre_mm, (0, 2, 12)) + rng.normal(0, 2, 3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((counts - 1) / 2)
    x, y, z = (int(count) for count in counts)
    return Grid(shape=(z, y, x), affine=affine)
