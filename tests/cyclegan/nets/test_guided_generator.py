"""A guided generator begins as its look-up, and learns what to add to it."""

import torch

from cyclegan.nets.generator import Generator
from cyclegan.nets.guided_generator import GuidedGenerator, generator_of
from cyclegan.nets.network_pairs import Generators
from tests.support.guides import random_guide, slices

SMALL = {"in_channels": 5, "filters": 4, "blocks": 1, "upsample": "resize"}


def guided() -> GuidedGenerator:
    torch.manual_seed(0)
    network = generator_of(**SMALL, guide="table")
    assert isinstance(network, GuidedGenerator)
    random_guide(network)
    return network


def test_before_the_first_step_a_translation_is_the_guess():
    network, image = guided(), slices(2, neighbours=1)

    translated = network(image)

    assert torch.equal(translated, network.guide(image)[:, :1])
    assert translated[image[:, :1] > -1].std() > 0.3
    assert set(translated[image[:, :1] == -1].tolist()) == {-1}


def test_a_ct_is_its_own_guess_and_comes_back_as_it_is():
    mri, ct = slices(2, neighbours=1), slices(2, neighbours=1)
    pair = Generators(guided(), Generator(**SMALL), neighbours=1)

    images = pair(mri, ct)

    assert torch.equal(images.same_ct, ct[:, 2:3])
    assert torch.equal(images.fake_ct[:, 1:2], pair.to_ct.guide(mri)[:, :1])
    assert not torch.equal(images.returned_ct, ct[:, 2:3])


def test_both_parts_of_the_correction_learn_from_the_first_step_on():
    network, image = guided(), slices(2, neighbours=1)
    wanted = network(image).detach() * 0.5
    descent = torch.optim.Adam(network.parameters(), lr=1e-3)

    errors = []
    for _ in range(4):
        error = (network(image) - wanted).abs().mean()
        descent.zero_grad()
        error.backward()
        descent.step()
        errors.append(error.item())

    assert errors[-1] < errors[0]
    assert all(weights.grad.any() for weights in network.branch.parameters())
    assert network.layers[1].weight.grad.any()


def test_an_mri_as_dark_as_air_has_a_finite_gradient():
    network, image = guided(), slices(1, neighbours=1)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, 0, 0.1)
    image[:, 1:4] = torch.tensor([-1.0, -1.5, -0.999]).view(1, 3, 1, 1)
    image.requires_grad_()

    network(image).sum().backward()

    assert image.grad.isfinite().all()


def test_all_directions_are_told_from_the_middle_of_the_body_to_the_front():
    image = slices(1, neighbours=0)
    direction = guided().guide(image)[0, 1]

    inside = image[0, 0] > -1
    rows, columns = inside.nonzero().float().mean(0).round().int().tolist()
    assert direction[rows - 8, columns] < -0.95  # the front is at row 0
    assert direction[rows + 8, columns] > 0.95
    assert torch.allclose(direction[rows, columns - 8], torch.tensor(0.0), atol=0.1)
    assert torch.allclose(direction[rows, columns + 8], torch.tensor(0.0), atol=0.1)
