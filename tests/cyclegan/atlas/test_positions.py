"""A position is that of the conditions, and the same on both sides of a head of any width."""

import numpy as np
import pytest
import torch

from cyclegan.atlas.positions import NUM_POSITIONS, positions_of
from cyclegan.nets.guide import POSITION_BINS
from cyclegan.nets.input_channels import with_conditions

Y, X = np.mgrid[:96, :96]
BODY = np.broadcast_to(np.hypot((Y - 48) / 40, (X - 47.5) / 30) < 1, (12, 96, 96))
HEIGHT = np.arange(12) / 11
PIXEL_MM = (2.5, 2.5)


def bins_of(body: np.ndarray = BODY, height: np.ndarray = HEIGHT) -> np.ndarray:
    """Bins of depth, height and direction, [3, z, y, x], -1 outside."""
    found = np.full((3, *body.shape), -1)
    found[:, body.astype(bool)] = np.unravel_index(
        positions_of(body, height, PIXEL_MM), POSITION_BINS
    )
    return found


def test_depth_and_height_are_those_of_the_conditions():
    depth, height, _ = bins_of()
    mask = torch.from_numpy(BODY.astype(np.float32))[:, None]
    channels = with_conditions(mask, mask, torch.from_numpy(HEIGHT).float(), PIXEL_MM)
    shown_depth, shown_height = channels[:, 0].numpy(), channels[:, -1].numpy()

    for bins, shown in ((depth, shown_depth), (height, shown_height)):
        order = np.argsort(shown[BODY], kind="stable")
        assert (np.diff(bins[BODY][order]) >= 0).all()
    assert set(depth[BODY][shown_depth[BODY] == 1]) == {16}
    assert set(depth[BODY][shown_depth[BODY] == shown_depth[BODY].min()]) == {0}
    assert [set(height[z][BODY[z]]) for z in (0, 11)] == [{0}, {23}]


def test_directions_go_from_the_front_to_the_back_and_are_the_same_left_and_right():
    _, _, angle = bins_of()

    assert angle[5, 12, 47] == 0
    assert angle[5, 84, 47] == 17
    assert angle[5, 48, 75] in (8, 9)
    mirrored = angle[:, :, ::-1]
    assert (angle == mirrored).all()


def test_another_volume_in_the_batch_changes_no_position():
    alone = bins_of(BODY[3:6], HEIGHT[3:6])

    np.testing.assert_array_equal(bins_of()[:, 3:6], alone)


@pytest.mark.parametrize("side", [128, 160])
def test_a_larger_canvas_changes_no_position(side):
    """A slice that needs one, in the same volume or batch, is nothing to the others."""
    margin = (side - 96) // 2
    around = [(0, 0), (margin, margin), (margin, margin)]

    larger = bins_of(np.pad(BODY, around))

    np.testing.assert_array_equal(larger, np.pad(bins_of(), [(0, 0), *around], constant_values=-1))


@pytest.mark.parametrize("body", [np.zeros((2, 16, 16)), np.ones((2, 16, 16))])
def test_an_empty_body_has_no_position_and_a_full_one_is_deep(body):
    found = positions_of(body, np.array([0.0, 1.0]), PIXEL_MM)

    assert len(found) == body.sum()
    assert ((found >= 0) & (found < NUM_POSITIONS)).all()
