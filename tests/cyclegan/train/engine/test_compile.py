"""Compiled code computes what eager code does. Run without the shape checks: see conftest.py."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from cyclegan.config.config import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    ScaleConfig,
    TrainConfig,
)
from cyclegan.config.files import to_yaml
from cyclegan.config.loss import Term
from cyclegan.data.batch import Batch
from cyclegan.nets.generator import ResidualBlock
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.compile import compile_warning, compiled_graphs, expected_graphs
from cyclegan.train.engine.formulas import Formulas
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import TrainState, build_state
from cyclegan.train.engine.step import TrainEngine, train_step
from tests.support.compiling import COMPILER_MARKS

pytestmark = [pytest.mark.compile, *COMPILER_MARKS]
CPU = torch.device("cpu")
CHANGING = LossConfig(
    cycle=Term(weight=10.0, schedule="rise"), depth=Term(weight=10.0, schedule="fall")
)
"""Weights that are others in every step, and a term that ends."""


def config(extent: str) -> Config:
    return Config(
        generator=GeneratorConfig(filters=4, blocks=2),
        discriminator=DiscriminatorConfig(filters=4),
        train=TrainConfig(compile=extent, precision="fp32", pool_size=2),
    )


def fresh(extent: str, num_shards: int = 1) -> TrainState:
    return build_state(config(extent), size=(32, 32), shards=range(num_shards), device=CPU)


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    body = torch.ones(1, 1, 32, 32)
    images = torch.rand(count, 2, 1, 1, 32, 32, generator=generator) * 2 - 1
    return [
        Batch(mri=mri, ct=ct, mri_body=body, ct_body=body, pixel_mm=(1.0, 1.0))
        for mri, ct in images
    ]


@pytest.mark.parametrize("extent", ["blocks", "all"])
def test_compiled_steps_equal_eager_ones(extent):
    torch._dynamo.reset()
    eager, compiled = fresh("no"), fresh(extent)
    plain = TrainEngine(
        generators=eager.generators, discriminators=eager.discriminators, autocast=nullcontext
    )
    placed = place_networks(compiled, config(extent), Worker(), note=pytest.fail)

    for batch in batches(3):
        expected = train_step(eager, plain, batch, config("no").loss, 0.9)
        terms = train_step(compiled, placed, batch, config(extent).loss, 0.9)

    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("extent", "num_parts", "expected"), [("all", 1, 7), ("all", 2, 8), ("blocks", 1, 2)]
)
def test_a_run_compiles_as_many_graphs_as_it_says_and_no_more(extent, num_parts, expected):
    """All: generators; discriminators that judge; discriminators that learn from a doubled batch,
    and these again for later parts; both losses, and the generators' once more when the weight that
    falls is 0; image statistics. Blocks: one code, two batch sizes."""
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend("aot_eager")
    state = fresh("no", num_parts)
    modules, formulas = [state.generators, state.discriminators], Formulas()
    if extent == "blocks":
        modules = [m for m in state.generators.modules() if isinstance(m, ResidualBlock)]
    else:
        how = {"dynamic": False, "fullgraph": True, "backend": counter}
        formulas = formulas.mapped(partial(torch.compile, **how))
    for module in modules:
        module.compile(dynamic=False, fullgraph=True, backend=counter)
    loss = replace(CHANGING, schedule_share=0.5)
    engine = TrainEngine(
        generators=state.generators,
        discriminators=state.discriminators,
        autocast=nullcontext,
        formulas=formulas,
        num_parts=num_parts,
    )

    for one, other in zip(batches(5), batches(5), strict=True):
        both = {n: torch.cat([each, other.tensors[n]]) for n, each in one.tensors.items()}
        batch = replace(one, **both) if num_parts == 2 else one
        train_step(state, engine, batch, loss.at(state.step, 8), 0.9)

    assert counter.frame_count == compiled_graphs() == expected
    graphs = expected_graphs(replace(config(extent), loss=loss), num_parts)
    assert graphs[-1] == expected
    assert compile_warning(graphs) == ""
    assert "recompilations" in compile_warning(range(expected))


def test_a_cut_file_in_the_cache_costs_speed_and_not_the_run(monkeypatch):
    """A kill while code was written leaves one, and torch then raises."""
    torch._dynamo.reset()
    state = fresh("all")
    engine = place_networks(state, config("all"), Worker(), note=pytest.fail)
    monkeypatch.setattr(
        "torch._inductor.compile_fx.compile_fx", lambda *a, **k: 1 / 0
    )  # stands for the ImportError of a cut file

    train_step(state, engine, batches(1)[0], config("all").loss, 0.9)

    assert state.step == 1
    assert "0 of 5 graphs were compiled" in compile_warning(engine.num_graphs)


COMPILE_ONCE = """
import sys
from dataclasses import replace
from mrct.storage.paths import storage_path
import torch
from torch._dynamo.utils import counters
from cyclegan.config.files import load_config
from cyclegan.nets.generator import ResidualBlock
from cyclegan.train.engine.compile import compile_warning, compiled_graphs, expected_graphs
from cyclegan.train.engine.placement import place_networks
from cyclegan.train.engine.state import build_state
from cyclegan.train.distributed import Worker
config = load_config(storage_path(sys.argv[1]))
state = build_state(config, size=(32, 32), shards=range(1), device=torch.device("cpu"))
engine = place_networks(state, config, Worker(), print)
image = torch.zeros(1, 1, 32, 32)
engine.discriminators(image, image)
found = counters["inductor"]
print(found["fxgraph_cache_miss"], found["fxgraph_cache_hit"])
"""


def test_a_restart_takes_compiled_code_from_its_folder(tmp_path):
    cached = replace(config("all"), scale=ScaleConfig(compile_cache=str(tmp_path / "cache")))
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(cached))
    environment = {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"}

    counts = [
        subprocess.run(
            [sys.executable, "-c", COMPILE_ONCE, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.split()
        for _ in range(2)
    ]

    (first_misses, _), (misses, hits) = counts
    assert int(first_misses) > 0
    assert (int(misses), int(hits)) == (0, int(first_misses))
