"""The exported files of a guided generator contain its look-up."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, open_format, write_formats
from cyclegan.nets.guided_generator import GuidedGenerator
from tests.support.guides import random_guide, slices

SETTINGS = GeneratorConfig(filters=4, blocks=1, guide="table")


@pytest.mark.slow  # tracing
def test_every_file_looks_up_what_the_network_does_at_any_size_and_precision(tmp_path):
    torch.manual_seed(0)
    network = GuidedGenerator(in_channels=3, filters=4, blocks=1).eval().requires_grad_(False)
    for weights in network.parameters():
        weights.normal_(0, 0.1)
    random_guide(network)

    write_formats(network, 3, tmp_path)

    for count, size in ((1, (48, 40)), (3, (64, 84))):
        image = slices(count, neighbours=0, size=size)
        expected = network(image)
        assert expected.std() > 0.1, "a flat picture would compare nothing"
        for form in FILES:
            translated = open_format(form, tmp_path, 3, SETTINGS)(image)
            torch.testing.assert_close(translated, expected, atol=1e-5, rtol=0)
    program = open_format("pt2", tmp_path, 3, SETTINGS)
    named = {
        each
        for node in program.graph.nodes
        for each in tree_leaves((node.args, node.kwargs))
        if isinstance(each, torch.device | torch.dtype)
    }
    assert named == {torch.int64}  # that of the places in the table
    half = program.to(torch.bfloat16)(image.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - expected).abs().median() < 0.05
