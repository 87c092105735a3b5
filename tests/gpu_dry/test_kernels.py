"""Kernels that a step launches in both generators, by Inductor's code for a GPU; nothing runs.

Run without the shape checks: see conftest.py of `tests`.
"""

import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.utils import get_code

from cyclegan.config.config import BatchConfig
from cyclegan.config.presets import default
from cyclegan.train.engine.compile import FEWER_LAUNCHES
from cyclegan.train.engine.state import build_state
from tests.gpu_dry.stub_run import DEVICE, size_of
from tests.support.compiling import COMPILER_MARKS

pytestmark = [pytest.mark.compile, pytest.mark.slow, *COMPILER_MARKS]
CONVOLUTIONS = 2 * 24 * 2  # generators, layers, calls: each batch holds two of the six passes


def code_of_generators(layout: torch.memory_format, options: object) -> list[str]:
    """What Inductor writes for the generators of `default` in bf16: forward, and backward."""
    config = replace(default(), batch=BatchConfig(shards=1, shard_size=2))
    size = size_of(config)
    state = build_state(config, size=(size, size), shards=range(1), device=DEVICE, layout=layout)
    channels = config.data.channels + config.data.num_conditions
    mri, ct = (
        torch.empty(2, channels, size, size, device=DEVICE).to(memory_format=layout)
        for _ in range(2)
    )
    compiled = torch.compile(state.generators, dynamic=False, fullgraph=True, options=options)

    def run() -> None:
        with torch.autocast("cuda", torch.bfloat16), pytest.raises(IndexError):
            compiled(mri, ct)  # code that is only written returns no images

    with (
        torch._dynamo.config.patch(suppress_errors=False),
        functorch_config.patch(force_non_lazy_backward_lowering=True, enable_autograd_cache=False),
        inductor_config.patch(fx_graph_cache=False),
    ):
        return [code for code in get_code(run) if code]


@pytest.mark.parametrize(
    ("layout", "most"),
    [(torch.channels_last, 400), (torch.contiguous_format, 240)],
    ids=["channels_last", "contiguous"],
)
def test_both_generators_launch_few_kernels(layout, most):
    forward, backward = code_of_generators(layout, FEWER_LAUNCHES)

    assert forward.count("extern_kernels.convolution(") == CONVOLUTIONS
    assert backward.count("aten.convolution_backward.default(") == CONVOLUTIONS
    kernels = Counter(re.findall(r"^ +(triton_\w+)\.run\(", forward + backward, re.MULTILINE))
    assert 0 < kernels.total() <= most, kernels.most_common()
