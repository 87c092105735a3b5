"""The outline lies where the phantom's true one does, in an MRI as in a CT, by one rule."""

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.level_head import LevelPerson, Material, make_level_head
from data_prep.phantom.level_scanner import scan_level_ct, scan_level_mri
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import (
    CtScan,
    MriScan,
    acquire_ct,
    acquire_mri,
    sample_on_grid,
)
from data_prep.phantom.tissue import Tissue
from data_prep.preprocess.preprocess import PreprocessedVolume, preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti
from mrct.imaging.geometry import canonical, resample_mask
from mrct.imaging.volume import Grid, Volume

SPEC = PreprocessingSpec(spacing_mm=(3.0, 2.4, 2.4), size=(112, 96))
ENDS = 8
"""Slices at both ends that are left out: the field of view cuts the head, or grazes its top."""


def grid_around(centre_mm: tuple[float, float, float]) -> Grid:
    """Pixels of 1.5 mm, as a scanner's, off the grid of the anatomy."""
    sizes, (x, y, z) = np.array([1.5, 1.5, 3.0]), (144, 170, 60)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = np.add(centre_mm, (0.3, 2.4, 12.7)) - sizes * (np.array([x, y, z]) - 1) / 2
    return Grid(shape=(z, y, x), affine=affine)


def shapes_scans(seed: int) -> tuple[dict[str, Volume], NDArray[np.float32], NDArray[np.float64]]:
    """MRI and CT of a head of the generator `shapes`; its air by voxel, and its affine."""
    rng = np.random.default_rng(seed)
    subject = Subject.draw(rng)
    anatomy, grid = make_anatomy(subject, spacing_mm=2.0), grid_around(subject.shift_mm)
    scans = {
        "mri": acquire_mri(anatomy, grid, MriScan.draw(rng), rng),
        "ct": acquire_ct(anatomy, grid, CtScan.draw(rng), rng),
    }
    return volumes(scans, grid), anatomy.fractions[Tissue.AIR], anatomy.affine


def levels_scans(seed: int) -> tuple[dict[str, Volume], NDArray[np.float32], NDArray[np.float64]]:
    """The same of the generator `levels`."""
    rng = np.random.default_rng(seed)
    person = LevelPerson.draw(rng)
    head, grid = make_level_head(person, spacing_mm=2.0), grid_around(person.shift_mm)
    scans = {"mri": scan_level_mri(head, grid, rng), "ct": scan_level_ct(head, grid, rng)}
    return volumes(scans, grid), head.fractions[Material.AIR], head.affine


def volumes(scans: dict[str, NDArray[np.float32]], grid: Grid) -> dict[str, Volume]:
    return {
        kind: Volume(voxels=voxels, affine=grid.affine, modality=kind, pseudonym="head")
        for kind, voxels in scans.items()
    }


def offset_mm(
    made: PreprocessedVolume, air: NDArray[np.float32], affine: NDArray[np.float64]
) -> float:
    """How far the outline lies outside the true one, on average over its surface; negative within.

    The difference of the volumes over the area of the surface, which is the integral of the
    gradient of the true share of body (the coarea formula); sub-voxel, unlike distances of masks.
    """
    parts, _ = ndimage.label(air > 0.5)
    around = ndimage.binary_dilation(parts == parts[-1, 0, 0])  # air inside the head is body
    body = sample_on_grid(1 - air * around, affine, made.grid)
    middle = slice(ENDS, len(body) - ENDS)
    steps = np.gradient(body, *made.grid.spacing_mm)
    area = np.sqrt(sum(step**2 for step in steps))[middle].sum()
    return float((made.body[middle].sum() - body[middle].sum()) / area)


@pytest.mark.parametrize("scans", [shapes_scans, levels_scans], ids=["shapes", "levels"])
def test_the_outlines_of_both_kinds_lie_within_half_a_voxel_of_the_true_one(scans):
    found, air, affine = scans(3)

    offsets = {
        kind: offset_mm(preprocess(volume, SPEC), air, affine) for kind, volume in found.items()
    }

    half = SPEC.spacing_mm[1] / 2
    assert all(abs(offset) < half for offset in offsets.values()), offsets
    assert abs(offsets["mri"] - offsets["ct"]) < half / 2, offsets


def test_the_outlines_of_a_real_pair_are_as_near_as_its_scans_are_aligned(shared):
    """A thigh in one frame of reference, aligned to a few mm at best. Measured: the MRI's outline
    lies 0.9 mm outside the CT's (median), from -0.5 to 2.3 mm (quartiles); only the skin in both
    fields of view is compared."""
    folder = shared / "paired_thigh"
    mri = read_nifti(folder / "STS_002_MR_T1.nii.gz", modality="mri", pseudonym="p")
    ct = read_nifti(folder / "STS_002_CT.nii.gz", modality="ct", pseudonym="p")
    made = preprocess(mri, PreprocessingSpec())
    other = preprocess(ct, PreprocessingSpec(), grid=made.grid)

    upright = canonical(mri)
    field = resample_mask(np.ones(upright.voxels.shape, np.bool_), upright.grid, made.grid)
    in_plane = (1e6, *made.grid.spacing_mm[1:])  # the ends of the stack are no border
    distance = partial(ndimage.distance_transform_edt, sampling=in_plane)
    skin = made.body & ~ndimage.binary_erosion(made.body, np.ones((1, 3, 3)))
    skin &= distance(field) > 10
    offsets = np.where(other.body, 0.5 - distance(other.body), distance(~other.body) - 0.5)[skin]

    assert len(offsets) > 1000
    assert abs(np.median(offsets)) < 2
