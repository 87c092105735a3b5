"""The population term sees how values are distributed in each layer, and nothing else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_cdt
from scipy.stats import wasserstein_distance

from cyclegan.nets.population_loss import (
    FINE_ENDS_MM,
    LAYER_ENDS_MM,
    NUM_QUANTILES,
    depth_loss,
    layer_quantiles,
    layers,
    population_loss,
)

PIXEL_MM = (3.6, 3.6)


def disc(size: int = 64, radius: float = 25) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < radius**2
    return inside.float()[None, None]


def test_the_layers_are_scipys_chessboard_depths_and_make_up_the_body():
    body = disc()

    found = layers(body, PIXEL_MM)[0].numpy()

    depth = distance_transform_cdt(body[0, 0].numpy() > 0, metric="chessboard")
    ends = [0, *(round(end / PIXEL_MM[0]) for end in LAYER_ENDS_MM), 1000]
    for layer, low, high in zip(found, ends, ends[1:], strict=False):
        np.testing.assert_array_equal(layer, (depth > low) & (depth <= high))
    np.testing.assert_array_equal(found.sum(0), body[0, 0].numpy())


def test_layers_are_as_deep_whatever_the_canvas_and_the_pixels():
    body = disc()
    roomy = F.pad(body, (40, 8, 8, 40))
    stretched = body.repeat_interleave(3, dim=-2)

    found = layers(body, PIXEL_MM)

    assert torch.equal(F.pad(found, (40, 8, 8, 40)), layers(roomy, PIXEL_MM))
    finer = layers(stretched, (PIXEL_MM[0] / 3, PIXEL_MM[1]))
    assert (found.repeat_interleave(3, dim=-2) - finer).abs().mean() < 0.01


def test_it_is_the_mean_of_scipys_wasserstein_distances():
    generator = torch.Generator().manual_seed(2)
    ours, theirs = torch.randn(2, 1, 1, 64, 64, generator=generator) * 0.3
    body, real_body = disc(), disc(radius=20)

    loss = population_loss(ours, body, theirs + 0.5, real_body, PIXEL_MM).item()

    expected = [
        wasserstein_distance(ours[0, 0][mine > 0].numpy(), theirs[0, 0][other > 0].numpy() + 0.5)
        for mine, other in zip(
            layers(body, PIXEL_MM)[0], layers(real_body, PIXEL_MM)[0], strict=True
        )
    ]
    assert loss == pytest.approx(np.mean(expected), rel=0.05)


def test_its_quantiles_are_numpys_of_the_pixels_in_each_layer():
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(5))
    masks = layers(disc(), PIXEL_MM)

    found, counts = layer_quantiles(image, masks)

    for mask, ours, count in zip(masks[0], found[0], counts[0], strict=True):
        values, quantiles = image[0, 0][mask > 0].numpy(), ours.numpy()
        shares = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
        expected = np.quantile(values, shares, method="inverted_cdf")
        # Ranks may differ by one where a share falls between two pixels.
        assert len(values) == count
        assert np.abs(np.searchsorted(np.sort(values), quantiles) - shares * len(values)).max() <= 1
        np.testing.assert_allclose(quantiles, expected, atol=0.2)


def quantiles_of_each_layer(image: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The plain formula: a layer's pixels are sorted alone, in front of all others."""
    ordered = torch.where(masks > 0.5, image, 4.0).flatten(2).sort(stable=True).values
    shares = (torch.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    ranks = (shares * masks.sum((-2, -1))[..., None]).long()
    return ordered.gather(-1, ranks)


@pytest.mark.parametrize("step", [0.0, 0.25], ids=["distinct values", "many equal values"])
def test_one_sort_gives_the_bits_and_the_gradient_of_a_sort_for_each_layer(step):
    generator = torch.Generator().manual_seed(9)
    image = torch.rand(3, 1, 64, 64, generator=generator) * 2 - 1
    image = (image / step).round() * step if step else image
    # Fewer pixels than quantiles, a usual body, and one that leaves no layer but the last empty.
    masks = layers(torch.cat([disc(radius=4), disc(), disc(radius=12)]), PIXEL_MM)
    full = masks.sum((-2, -1)) > 0
    assert not full.all()
    found, expected = [], []
    for formula, results in (
        (lambda *given: layer_quantiles(*given)[0], found),
        (quantiles_of_each_layer, expected),
    ):
        given = image.clone().requires_grad_()
        quantiles = formula(given, masks)[full]
        direction = torch.rand(quantiles.shape, generator=torch.Generator().manual_seed(1))
        (quantiles * direction).sum().backward()
        results += [quantiles, given.grad]

    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_bone_on_the_scalp_costs_though_the_whole_histogram_is_right():
    body = disc()
    scalp, skull = layers(body, PIXEL_MM)[:, :1], layers(body, PIXEL_MM)[:, 1:2]
    right = 0.6 * skull - 0.5 * body
    # As many pixels of bone, from the surface inwards.
    order = (2 * scalp + skull).flatten().argsort(descending=True)[: int(skull.sum())]
    wrong = -0.5 * body
    wrong.view(-1)[order] = 0.1

    assert population_loss(right, body, right, body, PIXEL_MM).item() == 0
    assert population_loss(wrong, body, right, body, PIXEL_MM).item() > 0.1


def test_a_slice_without_a_body_costs_nothing_and_has_a_finite_gradient():
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)

    loss = population_loss(
        image, torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64), disc(), PIXEL_MM
    )
    loss.backward()

    assert loss.item() == 0
    assert image.grad is not None
    assert not image.grad.any()


def test_its_gradient_moves_values_to_those_of_equal_rank():
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 1, 64, 64, generator=generator).requires_grad_()
    body, real = disc(), torch.randn(1, 1, 64, 64, generator=generator) * 0.1 + 0.7
    before = population_loss(image, body, real, body, PIXEL_MM)

    for _ in range(200):
        (gradient,) = torch.autograd.grad(population_loss(image, body, real, body, PIXEL_MM), image)
        image = (image - 20 * gradient).detach().requires_grad_()

    assert population_loss(image, body, real, body, PIXEL_MM) < 0.3 * before


def test_what_is_usual_at_a_depth_costs_nothing_and_its_gradient_leads_there():
    body, real_body = disc(radius=28), disc(radius=20)
    depth = distance_transform_cdt(real_body[0, 0].numpy() > 0, metric="chessboard")
    real = torch.from_numpy(np.where(depth == 3, 0.5, -0.4)).float()[None, None]
    image = torch.zeros(1, 1, 64, 64).requires_grad_()

    for _ in range(60):
        (gradient,) = torch.autograd.grad(depth_loss(image, body, real, real_body, PIXEL_MM), image)
        image = (image - 300 * gradient).detach().requires_grad_()

    ours = distance_transform_cdt(body[0, 0].numpy() > 0, metric="chessboard")
    found = image[0, 0].detach().numpy()
    ends = sorted({max(1, round(end / PIXEL_MM[0])) for end in FINE_ENDS_MM})
    low, high = next(pair for pair in zip([0, *ends], ends, strict=False) if pair[1] >= 3)
    layer = (depth > low) & (depth <= high)
    np.testing.assert_allclose(
        found[(ours > low) & (ours <= high)], real[0, 0][layer].mean(), atol=0.01
    )
    np.testing.assert_allclose(found[ours > ends[-1]], -0.4, atol=0.01)
    assert depth_loss(image, body, real, real_body, PIXEL_MM).item() < 1e-4


def test_a_depth_that_the_partner_lacks_is_left_out():
    body, shallow = disc(radius=28), disc(radius=4)
    image = torch.zeros(1, 1, 64, 64, requires_grad=True)

    depth_loss(image, body, torch.ones(1, 1, 64, 64), shallow, PIXEL_MM).backward()

    depth = distance_transform_cdt(body[0, 0].numpy() > 0, metric="chessboard")
    moved = image.grad[0, 0].numpy() != 0
    assert moved[depth == 1].all()
    assert not moved[depth > 8].any()
    assert not depth_loss(image, body, image, torch.zeros(1, 1, 64, 64), PIXEL_MM).item()
