"""A volume through a network: the HU of the CPU, conditions and neighbours too."""

import numpy as np
import pytest
import torch

from cyclegan.inference.slices import Conditions, translate_volume
from cyclegan.nets.generator import Generator
from tests.support.compiling import COMPILER_MARKS

SHAPE = (11, 32, 40)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "compiled",
    [False, pytest.param(True, marks=[pytest.mark.compile, *COMPILER_MARKS])],
    ids=["eager", "compiled"],
)
def test_the_gpu_gives_what_the_cpu_gives(device, precision, compiled):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = Generator(in_channels=5, filters=8, blocks=2).eval().requires_grad_(False)
    images = torch.rand(SHAPE[0], 1, *SHAPE[1:]) * 2 - 1
    body = np.zeros(SHAPE, bool)
    body[:, 4:25, 5:35] = True
    conditions = Conditions(body=body, height=random.random(SHAPE[0]), spacing_yx_mm=(1.0, 1.0))
    expected = translate_volume(network, images, 4, neighbours=1, conditions=conditions)

    run = network.to(device)
    if compiled:
        run = compiled_network(network)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        found = translate_volume(run, images, 4, device, neighbours=1, conditions=conditions)

    hu = (found - expected).abs() * 2047.5
    assert found.device.type == "cpu"
    assert hu.mean() < (1 if precision == "fp32" else 40)


def compiled_network(network: Generator) -> torch.nn.Module:
    """As `translate` compiles it, which needs more libraries than torch."""
    for library in ("tyro", "monai"):
        pytest.importorskip(library)
    from cyclegan.translate.engine import CompiledNetwork

    return CompiledNetwork(network, 4)
