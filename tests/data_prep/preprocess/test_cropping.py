"""A body larger than the store's slices is cut in the open: by how much, where, and what helps."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.imaging.volume import Volume

SPACING_MM = (4.0, 2.0, 2.5)


def brick(height_mm: float, width_mm: float, right_mm: float = 0, turn: float = 0) -> Volume:
    """A CT of a brick [y, x] in air, `right_mm` to the patient's right, in 12 slices."""
    shape = (12, 130, 120)
    affine = np.diag([-2.5, -2.0, 4.0, 1.0])
    affine[:3, :3] = Rotation.from_euler("z", turn, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ [59.5, 64.5, 5.5]
    _, y, x = np.indices(shape)
    y, x = (y - 64.5) * 2.0, (x - 59.5) * 2.5 + right_mm
    inside = (np.abs(y) < height_mm / 2) & (np.abs(x) < width_mm / 2)
    voxels = np.where(inside, 40, -1000).astype(np.int16)
    return Volume(voxels=voxels, affine=affine, modality="ct", pseudonym="p")


def spec(rows: int, columns: int) -> PreprocessingSpec:
    return PreprocessingSpec(spacing_mm=(4.0, 1.0, 1.0), size=(rows, columns))


def test_a_body_that_fits_is_no_news():
    made = preprocess(brick(200, 160), spec(208, 168))

    assert made.cut.lost_mm == made.cut.notes == ()
    assert made.cut.needed_size == (208, 168)


@pytest.mark.parametrize("turn", [0, 7])
def test_a_larger_body_is_told_by_side_and_millimetre(turn):
    made = preprocess(brick(200, 160, right_mm=20, turn=turn), spec(160, 168))

    lost = dict(made.cut.lost_mm)
    assert set(lost) == {"front", "back"}
    assert lost["front"] == pytest.approx(20, abs=3)
    assert lost["back"] == pytest.approx(20, abs=3)
    (note,) = made.cut.notes
    assert "mm at the front" in note
    assert "mm at the back" in note
    assert "--size" in note


def test_the_size_that_a_note_names_holds_the_body():
    volume = brick(200, 160, right_mm=20)
    small = preprocess(volume, spec(160, 120))
    assert {side for side, _ in small.cut.lost_mm} == {"front", "back", "right", "left"}

    rows, columns = small.cut.needed_size

    assert preprocess(volume, spec(rows, columns)).cut.notes == ()
    assert (rows % 4, columns % 4) == (0, 0)
    assert (rows, columns) <= (232, 192)


def test_a_body_that_the_scan_itself_cuts_is_not_our_cut():
    beyond = preprocess(brick(200, 400), spec(208, 304))

    assert beyond.body[:, 100, [2, -3]].all()
    assert beyond.cut.notes == ()


def test_a_paired_grid_cuts_on_one_side_only():
    mri_grid = preprocess(brick(200, 160), spec(208, 168)).grid

    cut = preprocess(brick(200, 160, right_mm=30), spec(208, 168), grid=mri_grid).cut

    ((side, lost_mm),) = cut.lost_mm
    assert side == "right"
    assert lost_mm == pytest.approx(26, abs=3)
    assert cut.needed_size[1] >= 168 + 2 * 26
