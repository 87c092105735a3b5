"""The structure term knows where edges are and not which way they go."""

import numpy as np
import torch

from cyclegan.nets.mind_loss import FLOOR, mind, structure_loss


def picture() -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(1, 1, 5, 5, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, scale_factor=6, mode="nearest")


def test_it_is_heinrichs_formula_pixel_by_pixel():
    image = picture()
    x = np.pad(image[0, 0].numpy().astype(np.float64), 3, mode="edge")

    found = mind(image)[0].numpy()

    for row, column in ((4, 7), (12, 12), (20, 5)):
        patch = {
            (r, c): x[row + 3 + r - 1 : row + 3 + r + 2, column + 3 + c - 1 : column + 3 + c + 2]
            for r, c in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
        }
        distance = np.array(
            [((patch[to] - patch[0, 0]) ** 2).mean() for to in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        )
        expected = np.exp(-distance / max(distance.mean(), FLOOR))
        np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-4)


def test_an_inverted_image_has_the_same_structure_and_a_shifted_one_has_not():
    image = picture()

    assert structure_loss(image, -image).item() == 0
    assert structure_loss(image, image.roll(3, -1)).item() > 0.05


def test_its_gradient_reaches_the_translated_image_alone_and_is_finite_where_all_is_flat():
    source, flat = picture().requires_grad_(), torch.zeros(1, 1, 30, 30, requires_grad=True)

    structure_loss(source, flat + 0.01 * picture()).backward()

    assert source.grad is None
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    assert flat.grad.any()
