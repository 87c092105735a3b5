"""A volume through a network on a CUDA device: the HU of the CPU, conditions and neighbours too."""

import numpy as np
import pytest
import torch

from cyclegan.inference.slices import Conditions, translate_volume
from cyclegan.nets.generator import Generator
from cyclegan.translate.engine import CompiledNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPE = (11, 64, 80)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_gpu_gives_what_the_cpu_gives(precision, compiled):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = Generator(in_channels=5, filters=16, blocks=2).eval().requires_grad_(False)
    images = torch.rand(SHAPE[0], 1, *SHAPE[1:]) * 2 - 1
    body = np.zeros(SHAPE, bool)
    body[:, 8:50, 10:70] = True
    conditions = Conditions(body=body, height=random.random(SHAPE[0]))
    expected = translate_volume(network, images, 4, neighbours=1, conditions=conditions)

    network.to("cuda")
    run = CompiledNetwork(network, 4) if compiled else network
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        found = translate_volume(run, images, 4, "cuda", neighbours=1, conditions=conditions)

    hu = (found - expected).abs() * 2047.5
    assert found.device.type == "cpu"
    assert hu.mean() < (1 if precision == "fp32" else 40)
