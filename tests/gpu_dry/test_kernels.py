"""Kernels that a step launches in the networks, by Inductor's code for a GPU; nothing runs.

Run without the shape checks: see conftest.py of `tests`.
"""

import re
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.utils import get_code

from cyclegan.config.config import BatchConfig
from cyclegan.config.presets import default
from cyclegan.train.engine.compile import FEWER_LAUNCHES
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import freeze
from tests.gpu_dry.stub_run import DEVICE, size_of
from tests.support.compiling import COMPILER_MARKS

pytestmark = [pytest.mark.compile, pytest.mark.slow, *COMPILER_MARKS]
LAST, FIRST = torch.channels_last, torch.contiguous_format
LAYOUTS = ["channels_last", "contiguous"]
SIZE = 256


class Kernels(NamedTuple):
    """Launches of the code of one network."""

    convolutions: int
    their_gradients: int
    others: Counter[str]


def state_of_default(layout: torch.memory_format, guide: str = "table") -> TrainState:
    """`default` on the GPU, with one shard of two pairs."""
    base = default()
    config = replace(
        base,
        batch=BatchConfig(shards=1, shard_size=2),
        generator=replace(base.generator, guide=guide),
    )
    size = size_of(config)
    return build_state(config, size=(size, size), shards=range(1), device=DEVICE, layout=layout)


def images_for(
    network: nn.Module, batch: int, layout: torch.memory_format, requires_grad: bool = False
) -> list[Tensor]:
    """A batch of MRI and one of CT, with as many channels as the first layer of the last of both
    networks has: that to MRI has no guide."""
    *_, last = network.children()
    first = next(m for m in last.modules() if isinstance(m, nn.Conv2d))
    shape = (batch, first.in_channels, SIZE, SIZE)
    return [
        torch.empty(shape, device=DEVICE).to(memory_format=layout).requires_grad_(requires_grad)
        for _ in range(2)
    ]


def kernels_of(network: nn.Module, images: list[Tensor]) -> Kernels:
    """What Inductor's code for the compiled network launches in bf16, forward and backward."""
    compiled = torch.compile(network, dynamic=False, fullgraph=True, options=FEWER_LAUNCHES)

    def run() -> None:
        # Code that is only written returns nothing.
        nothing = pytest.raises((IndexError, AssertionError), match=r"out of range|outputs")
        with torch.autocast("cuda", torch.bfloat16), nothing:
            compiled(*images)

    with (
        torch._dynamo.config.patch(suppress_errors=False),
        functorch_config.patch(force_non_lazy_backward_lowering=True, enable_autograd_cache=False),
        inductor_config.patch(fx_graph_cache=False),
    ):
        forward, backward = [code for code in get_code(run) if code]
    return Kernels(
        convolutions=forward.count("extern_kernels.convolution("),
        their_gradients=backward.count("aten.convolution_backward.default("),
        others=Counter(re.findall(r"^ +(triton_\w+)\.run\(", forward + backward, re.MULTILINE)),
    )


# Kernels of two equal generators become one; a guided one is no longer equal.
@pytest.mark.parametrize(
    ("layout", "guide", "most"),
    [(LAST, "none", 400), (FIRST, "none", 240), (LAST, "table", 600), (FIRST, "table", 360)],
    ids=[f"{layout}-{guide}" for guide in ("none", "table") for layout in LAYOUTS],
)
def test_both_generators_launch_few_kernels(layout, guide, most):
    generators = state_of_default(layout, guide).generators

    found = kernels_of(generators, images_for(generators, 2, layout))

    # Layers of both and of the guided one's branch, calls: each batch holds two of the six passes.
    each = (2 * 24 + 3 * (guide == "table")) * 2
    assert (found.convolutions, found.their_gradients) == (each, each)
    assert 0 < found.others.total() <= most, found.others.most_common()


@pytest.mark.parametrize(("layout", "most"), [(LAST, 55), (FIRST, 48)], ids=LAYOUTS)
def test_both_discriminators_launch_few_kernels_when_they_learn(layout, most):
    discriminators = state_of_default(layout).discriminators

    found = kernels_of(discriminators, images_for(discriminators, 4, layout))

    assert (found.convolutions, found.their_gradients) == (2 * 5, 2 * 5)
    assert 0 < found.others.total() <= most, found.others.most_common()


@pytest.mark.parametrize(("layout", "most"), [(LAST, 27), (FIRST, 25)], ids=LAYOUTS)
def test_both_discriminators_launch_few_kernels_when_they_judge(layout, most):
    with freeze(state_of_default(layout).discriminators) as judge:
        found = kernels_of(judge, images_for(judge, 2, layout, requires_grad=True))

    assert (found.convolutions, found.their_gradients) == (2 * 5, 2 * 5)
    assert 0 < found.others.total() <= most, found.others.most_common()
