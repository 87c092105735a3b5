"""`generator.pt2`, which is traced on a CPU, runs on the device, also in fp16."""

from copy import deepcopy

import pytest
import torch

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, open_format, trace
from cyclegan.nets.generator import Generator

HU_PER_UNIT = 2047.5


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A generator, and the folder of its program."""
    torch.manual_seed(0)
    generator = Generator(in_channels=1, filters=4, blocks=1, upsample="resize").eval()
    folder = tmp_path_factory.mktemp("model")
    torch.export.save(trace(generator.requires_grad_(False), 1), folder / FILES["pt2"])
    return generator, folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_an_exported_generator_gives_what_the_generator_gives(exported, device, dtype):
    generator, folder = exported
    settings = GeneratorConfig(filters=4, blocks=1, upsample="resize")
    image = torch.rand(2, 1, 32, 48) * 2 - 1
    program = open_format("pt2", folder, 1, settings, str(device)).to(dtype)

    with torch.inference_mode():
        found = program(image.to(device, dtype))
        here = deepcopy(generator).to(device, dtype).layers(image.to(device, dtype))
        on_cpu = generator(image)

    assert (found.device, found.dtype) == (device, dtype)
    torch.testing.assert_close(found, here, atol=1e-2, rtol=0)
    hu = (found.cpu().float() - on_cpu).abs() * HU_PER_UNIT
    assert hu.mean() < (1 if dtype == torch.float32 else 40)
