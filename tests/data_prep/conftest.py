"""What several files of tests look at, made once."""

import pytest

from data_prep.phantom.anatomy import Anatomy, make_anatomy
from data_prep.phantom.person import Subject
from mrct.imaging.volume import Grid
from tests.support.heads import SPACING_MM
from tests.support.volumes import write_head


@pytest.fixture(scope="session")
def head() -> Anatomy:
    return make_anatomy(Subject(), spacing_mm=SPACING_MM)


@pytest.fixture(scope="session")
def grid(head: Anatomy) -> Grid:
    return Grid(shape=head.fractions.shape[1:], affine=head.affine)


@pytest.fixture
def folders(tmp_path):
    for number in range(4):
        write_head(tmp_path / f"mri/patient{number}.nii.gz", "mri", number)
        write_head(tmp_path / f"ct/patient{number}.nii", "ct", number + 10)
    return {"mri": tmp_path / "mri", "ct": tmp_path / "ct", "out": tmp_path / "out/s.zarr"}
