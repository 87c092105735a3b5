"""A compiled generator is the eager one without its biases. Run without the shape checks."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.parallel import DistributedDataParallel

from cyclegan.nets.generator import Generator
from tests.support.compiling import COMPILER_MARKS

pytestmark = [pytest.mark.compile, *COMPILER_MARKS]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture
def generator() -> Generator:
    """As after some training: no bias is 0. In fp64, nearly without rounding."""
    torch._dynamo.reset()
    torch.manual_seed(4)
    network = Generator(in_channels=3, filters=4, blocks=1, upsample="resize").double()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_images_and_gradients_are_the_eager_ones(generator, layout):
    generator.to(memory_format=layout)
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=layout)
    expected = generator(image)
    expected.square().sum().backward()
    gradients = {name: weight.grad for name, weight in generator.named_parameters()}
    generator.zero_grad(set_to_none=True)

    made = torch.compile(generator, dynamic=False, fullgraph=True)(image)
    made.square().sum().backward()

    torch.testing.assert_close(made, expected, rtol=1e-10, atol=1e-10)
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, weight in generator.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-10, atol=1e-10 * largest)
    zero = [name for name, weight in generator.named_parameters() if not weight.grad.any()]
    assert len(zero) == 7  # the convolutions before a norm
    assert all(name.endswith("bias") for name in zero)


def test_ddp_gets_every_gradient_bucket_by_bucket(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(dist, "_DEFAULT_FIRST_BUCKET_BYTES", 1024)
    counter = CompileCounterWithBackend("aot_eager")
    generator.compile(backend=counter, dynamic=False)
    dist.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(generator, bucket_cap_mb=0.005)
        for _ in range(2):  # the second raises if gradients did not come in the first
            wrapped(torch.rand(1, 3, 16, 16, dtype=torch.float64)).sum().backward()
    finally:
        dist.destroy_process_group()

    assert counter.frame_count > 1
    assert all(weight.grad is not None for weight in generator.parameters())
