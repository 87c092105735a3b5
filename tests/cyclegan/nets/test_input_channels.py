"""Conditions say where in the body a pixel lies; the depth is scipy's distance."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from cyclegan.data.batch import middle_slice
from cyclegan.nets.input_channels import (
    DEPTH_REACH_MM,
    depth_below_surface,
    replace_slices,
    with_conditions,
)


def blobs(size: tuple[int, int], spread: float) -> torch.Tensor:
    noise = np.random.default_rng(3).standard_normal((4, *size))
    smooth = ndimage.gaussian_filter(noise, (0, spread, spread))
    return torch.from_numpy((smooth > -0.3 * smooth.std()).astype(np.float32))[:, None]


@pytest.mark.parametrize(("size", "spread"), [((48, 64), 4.0), ((40, 33), 1.0), ((32, 32), 12.0)])
@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (0.7, 1.3)])
def test_the_depth_is_the_distance_to_the_nearest_pixel_outside_up_to_its_reach(
    size, spread, pixel_mm
):
    body = blobs(size, spread)

    depth = depth_below_surface(body, pixel_mm, reach_mm=10)

    for mask, found in zip(body[:, 0].numpy(), depth[:, 0].numpy(), strict=True):
        exact = ndimage.distance_transform_edt(mask, pixel_mm) if (mask == 0).any() else 10
        np.testing.assert_allclose(found, np.minimum(exact, 10), atol=1e-5)


def test_a_larger_canvas_leaves_every_depth_as_it_is_to_the_bit():
    body = F.pad(blobs((48, 64), 4.0), (1, 1, 1, 1))
    size, height = (2.4, 1.7), torch.zeros(len(body))

    alone = with_conditions(body, body, height, size)

    around = F.pad(body, (13, 40, 25, 2))
    shown = with_conditions(around, around, height, size)
    assert torch.equal(shown[..., 25:-2, 13:-40], alone)


def test_a_slice_full_of_body_is_deep_everywhere_and_an_empty_one_nowhere():
    assert (depth_below_surface(torch.ones(1, 1, 20, 24), (9, 9)) == DEPTH_REACH_MM).all()
    assert (depth_below_surface(torch.zeros(1, 1, 20, 24), (9, 9)) == 0).all()


def test_conditions_stand_around_the_slices_and_lie_within_the_window():
    body = blobs((32, 32), 4.0)
    slices = torch.rand(4, 3, 32, 32)
    height = torch.tensor([0.0, 0.25, 1.0, 1.2])

    shown = with_conditions(slices, body, height, (2.0, 2.0))

    assert torch.equal(shown[:, 1:4], slices)
    assert torch.equal(middle_slice(shown), slices[:, 1:2])
    assert shown[:, 4, 0, 0].tolist() == [-1, -0.5, 1, 1]
    assert torch.equal(shown[:, :1] == -1, body == 0)
    assert shown[:, 0].max() <= 1


def test_an_image_in_the_place_of_the_slices_keeps_the_conditions_of_the_source():
    source = torch.arange(5.0).view(1, 5, 1, 1)

    assert replace_slices(source, torch.full((1, 1, 1, 1), 9.0), 1).flatten().tolist() == [0, 9, 4]
    assert replace_slices(source[:, 1:4], torch.full((1, 1, 1, 1), 9.0), 1).flatten().tolist() == [
        9
    ]


def test_depth_reads_nothing_back_from_the_device():
    """On torch's meta device reading a value raises."""
    body = torch.ones(2, 1, 32, 32, device="meta")

    shown = with_conditions(body, body, torch.ones(2, device="meta"), (1.0, 1.0))

    assert shown.device.type == "meta"
