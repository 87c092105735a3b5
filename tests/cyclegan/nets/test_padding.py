"""Padding is torch's own to the bit, and keeps channels_last where torch's for GPUs does not."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cyclegan.nets.generator import Generator
from cyclegan.nets.padding import ReflectionPad2d, pad_last_channels

LAST = torch.channels_last


class Names(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padding", [1, 3])
def test_values_and_gradients_are_torchs_own_to_the_bit(padding, dtype):
    generator = torch.Generator().manual_seed(3)
    drawn = torch.rand(2, 5, 8, 9, generator=generator).to(dtype).contiguous(memory_format=LAST)
    ours, theirs = drawn.clone().requires_grad_(), drawn.clone().requires_grad_()

    padded, expected = pad_last_channels(ours, padding), torch.nn.ReflectionPad2d(padding)(theirs)
    direction = torch.rand(expected.shape, generator=generator).to(dtype)
    padded.backward(direction)
    expected.backward(direction)

    assert torch.equal(padded, expected)
    assert torch.equal(ours.grad, theirs.grad)
    assert padded.is_contiguous(memory_format=LAST)
    assert ours.grad.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize(
    ("device", "layout", "padding"),
    [
        ("cuda", LAST, "reflection_pad3d"),
        ("cuda", torch.contiguous_format, "reflection_pad2d"),
        ("cpu", LAST, "reflection_pad2d"),
    ],
)
def test_only_channels_last_on_a_gpu_goes_another_way(device, layout, padding):
    with FakeTensorMode(), Names() as names:
        image = torch.empty(2, 5, 8, 8, device=device).to(memory_format=layout)
        ReflectionPad2d(1)(image)

    assert {name for name in names.seen if "pad" in name} == {padding}


def test_all_of_a_generators_padding_is_this_one():
    layers = Generator(filters=4, blocks=1, upsample="resize").modules()

    padding = [layer for layer in layers if isinstance(layer, torch.nn.ReflectionPad2d)]

    assert len(padding) == 6
    assert {type(layer) for layer in padding} == {ReflectionPad2d}
