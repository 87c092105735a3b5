"""A pair whose CT lies elsewhere than its MRI, and the file that the CT came from."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data_prep.readers.nifti import write_nifti
from data_prep.store.history import rebuild_index
from data_prep.store.store import Store, open_store
from data_prep.store.writer import create_store, write_volume
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.volume import Grid
from tests.support.stores import SPACING_MM, prepared, random_head

SHAPE = (16, 48, 48)
SHIFT = (1, -2, 3)
"""Voxels along (z, y, x) from the MRI to the CT: 3, 4 and 6 mm."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shifted:
    """What a test may compare with."""

    store: Store
    head: dict[str, NDArray]
    """MRI, CT and body where the MRI has them."""
    files: Path
    """The folder of the CT's own file, of half the voxel size in plane."""


@pytest.fixture(scope="session")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Shifted:
    """One test pair, and an unpaired CT to train on."""
    folder = tmp_path_factory.mktemp("shifted")
    path, files = folder / "s.zarr", folder / "ct"
    files.mkdir()
    create_store(path, spacing_mm=SPACING_MM, size=SHAPE[1:], settings={"window_hu": WINDOW_HU})
    random = np.random.default_rng(8)
    head = random_head(random, SHAPE)
    moved = {name: ndimage.shift(v, SHIFT, order=0, mode="nearest") for name, v in head.items()}
    mri = prepared("mri", "a" * 16, "test", head, SPACING_MM, link="ct")
    ct = prepared("ct", "a" * 16, "test", moved, SPACING_MM, link="mri")
    # The file: every voxel is four in plane, with the same outer border.
    fine = moved["ct"].repeat(2, axis=1).repeat(2, axis=2)
    affine = ct.preprocessed.affine @ np.diag([0.5, 0.5, 1, 1])
    affine[:3, 3] -= ct.preprocessed.affine[:3, :3] @ [0.25, 0.25, 0]
    write_nifti(files / "head.nii.gz", fine, affine)
    digest = hashlib.sha256((files / "head.nii.gz").read_bytes()).hexdigest()
    source = Grid(shape=fine.shape, affine=affine)
    ct = replace(ct, source_sha256=digest, preprocessed=replace(ct.preprocessed, source=source))
    for volume in (mri, ct):
        write_volume(path, volume)
    train = prepared("ct", "b" * 16, "train", random_head(random, SHAPE), SPACING_MM)
    write_volume(path, train)
    rebuild_index(path)
    return Shifted(store=open_store(path), head=head, files=files)
