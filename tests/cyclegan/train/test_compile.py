"""Compiled code computes what eager code does. Run without the shape checks: see conftest.py."""

import os
import shutil
from contextlib import nullcontext

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from cyclegan.config import Config, CriticConfig, GeneratorConfig, TrainConfig
from cyclegan.data.batch import Batch
from cyclegan.train.placement import place
from cyclegan.train.state import TrainState, build_state
from cyclegan.train.step import Engine, train_step
from cyclegan.train.workers import Worker

pytestmark = [
    pytest.mark.compile,
    pytest.mark.slow,
    pytest.mark.skipif(
        "CYCLEGAN_NO_SHAPE_CHECKS" not in os.environ,
        reason="the shape checks break graphs; `make test` runs these in a second call",
    ),
    pytest.mark.skipif(
        shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler (g++)"
    ),
    # What torch's own compiler trips over: its use of TorchScript, and of a parametrized weight.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
CPU = torch.device("cpu")


def config(extent: str) -> Config:
    return Config(
        generator=GeneratorConfig(filters=4, blocks=2),
        critic=CriticConfig(filters=4),
        train=TrainConfig(compile=extent, precision="fp32", pool_size=2),
    )


def fresh(extent: str) -> TrainState:
    return build_state(config(extent), size=(32, 32), shards=range(1), device=CPU)


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    body = torch.ones(1, 1, 32, 32)
    images = torch.rand(count, 2, 1, 1, 32, 32, generator=generator) * 2 - 1
    return [Batch(mri=mri, ct=ct, mri_body=body, ct_body=body) for mri, ct in images]


@pytest.mark.parametrize("extent", ["blocks", "all"])
def test_compiled_steps_equal_eager_ones(extent):
    torch._dynamo.reset()
    eager, compiled = fresh("no"), fresh(extent)
    plain = Engine(translators=eager.translators, critics=eager.critics, autocast=nullcontext)
    placed = place(compiled, config(extent), Worker(), note=pytest.fail)

    for batch in batches(3):
        expected = train_step(eager, plain, batch, config("no").loss, 0.9)
        terms = train_step(compiled, placed, batch, config(extent).loss, 0.9)

    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name], rtol=1e-3, atol=1e-4)


def test_a_run_compiles_three_graphs_and_no_more():
    """Translators; critics that judge; critics that learn from a doubled batch."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    state = fresh("no")
    for module in (state.translators, state.critics):
        module.compile(dynamic=False, fullgraph=True, backend=counter)
    engine = Engine(translators=state.translators, critics=state.critics, autocast=nullcontext)

    for batch in batches(5):
        train_step(state, engine, batch, config("all").loss, 0.9)

    assert counter.frame_count == 3
