"""Generates a cohort of synthetic heads as NIfTI files with a manifest: unpaired scans for training
and aligned pairs for validation and test.
"""

import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_prep.datasets.manifest import Row, write_manifest
from data_prep.datasets.split import Split
from data_prep.phantom.heads import LevelsHead, ShapesHead, changed
from data_prep.phantom.level_head import LevelPerson
from data_prep.phantom.oddities import odd_subject
from data_prep.phantom.person import Subject
from data_prep.phantom.settings import CohortOrigin, CohortSettings, Oddity, write_origin
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
ODD_FOLDER = "odd"
"""Folder with the masks of the regions that are odd, on the CTs' grids and under their names."""
_CUT = 7
"""Number of the random stream of the fields of view; those of the scans are 1 and 2."""
THIN = 0.6
"""Thickness of sagittal and coronal slices (of 3D scans) relative to axial ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One subject and the scans taken of it."""

    index: int
    split: Split
    modalities: tuple[Modality, ...]
    oddity: Oddity = "none"


def make_cohort(
    out: Path, *, settings: CohortSettings, seed: int, num_workers: int | None = None
) -> Path:
    """Write `mri/*.nii.gz`, `ct/*.nii.gz`, `phantom.json` and, last, `manifest.csv` under `out`.

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
    visits = planned_visits(settings)
    work = partial(scan_subject, out, settings, seed)
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
    write_origin(out, CohortOrigin.now(seed=seed, settings=settings))
    manifest = out / "manifest.csv"
    write_manifest(manifest, rows)
    return manifest


def planned_visits(settings: CohortSettings) -> list[Visit]:
    """Return who is scanned how, by number."""
    groups: list[tuple[int, Split, tuple[Modality, ...]]] = [
        (settings.num_train_mri, "train", ("mri",)),
        (settings.num_train_ct, "train", ("ct",)),
        (settings.num_val, "val", ("mri", "ct")),
        (settings.num_test, "test", ("mri", "ct")),
    ]
    people = [group[1:] for group in groups for _ in range(group[0])]
    odd = itertools.cycle(settings.oddities or ("none",))
    return [
        Visit(
            index=index,
            split=split,
            modalities=modalities,
            oddity=next(odd) if split == "test" else "none",
        )
        for index, (split, modalities) in enumerate(people)
    ]


def scan_subject(out: Path, settings: CohortSettings, seed: int, visit: Visit) -> list[Row]:
    """Generate one head, scan it and write the scans, from random numbers of (seed, index) only."""
    name = f"phantom-{visit.index:04d}"
    head = _make_head(settings, visit, _generator(seed, visit.index))
    rows = []
    for modality in visit.modalities:
        rng = _generator(seed, visit.index, 1 + list(ORIENTATIONS).index(modality))
        cut_mm = _draw_cut_mm(settings, modality, visit, seed)
        grid = _draw_grid(rng, modality, settings, cut_mm, centre_mm=head.centre_mm)
        voxels = head.scan(modality, grid, rng)
        dtype = np.dtype(rng.choice(SCAN_DTYPES[modality]))
        path = out / modality / f"{name}.nii.gz"
        write_nifti(path, _stored(voxels, dtype), grid.affine)
        if modality == "ct" and (odd := head.odd_region(grid)) is not None:
            make_output_folder(out / ODD_FOLDER)
            write_nifti(out / ODD_FOLDER / path.name, odd.astype(np.uint8), grid.affine)
        pair = name if len(visit.modalities) > 1 else None
        rows.append(Row(path=path, modality=modality, subject=name, split=visit.split, pair=pair))
    return rows


def _make_head(
    settings: CohortSettings, visit: Visit, rng: np.random.Generator
) -> ShapesHead | LevelsHead:
    """Return the head of a subject, as the cohort's settings change it."""
    if "mri" in visit.modalities:
        changes = {"fluid_mm": settings.mri_fluid}
    else:
        changes = {"skull_mm": settings.ct_skull, "fat_mm": settings.ct_fat}
    if settings.generator == "levels":
        return LevelsHead(changed(LevelPerson.draw(rng), changes), settings)
    subject = odd_subject(changed(Subject.draw(rng), changes), visit.oddity)
    return ShapesHead(subject, settings)


def _draw_cut_mm(
    settings: CohortSettings, modality: Modality, visit: Visit, seed: int
) -> tuple[float, float]:
    """Return how much of the field of view is cut, (above, below) in mm, from random numbers of its
    own: a cut changes no other voxel."""
    cut_mm = settings.mri_cut_mm if modality == "mri" else settings.ct_cut_mm
    if visit.split != "train":
        return 0.0, 0.0
    above, below = _generator(seed, visit.index, _CUT).uniform(0, cut_mm)
    return float(above), float(below)


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _stored(voxels: Array, dtype: np.dtype[np.generic]) -> np.ndarray:
    return np.rint(voxels).astype(dtype) if dtype.kind in "iu" else voxels.astype(dtype)


def _draw_grid(
    rng: np.random.Generator,
    modality: Modality,
    settings: CohortSettings,
    cut_mm: tuple[float, float],
    centre_mm: Point,
) -> Grid:
    """Return the grid of one scan: its own spacing, storage order, and a few degrees of tilt."""
    order = str(rng.choice(ORIENTATIONS[modality]))
    axial = order.endswith("S")
    slice_mm = settings.slice_mm * (1 if axial else THIN)
    sizes = np.array([settings.in_plane_mm, settings.in_plane_mm, slice_mm])
    sizes = sizes * rng.uniform(0.8, 1.2, 2)[[0, 0, 1]]
    # directions: [3 world, 3 stored], one unit vector per stored axis
    directions = np.array([AXES[letter] for letter in order], np.float64).T
    above_mm, below_mm = cut_mm
    fov_mm = np.subtract(settings.fov_mm, (0, 0, above_mm + below_mm))
    counts = np.ceil(np.abs(directions.T) @ fov_mm / sizes).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(tuple(rng.normal(0, (3, 2, 2)))) @ directions * sizes
    centre = np.add(centre_mm, (0, 2, 12 + (below_mm - above_mm) / 2)) + rng.normal(0, 2, 3)
    affine[:3, 3] = centre - affine[:3, :3] @ ((counts - 1) / 2)
    x, y, z = (int(count) for count in counts)
    return Grid(shape=(z, y, x), affine=affine)
