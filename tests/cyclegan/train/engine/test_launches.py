"""A step dispatches few operators outside of compiled regions, which compute what eager ones do.

Run without the shape checks: see conftest.py.
"""

from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from cyclegan.config.config import Config, LossConfig
from cyclegan.config.presets import default
from cyclegan.data.batch import Batch
from cyclegan.nets.network_pairs import Translated
from cyclegan.train.engine.diagnostics import MEASURE_EVERY_STEPS
from cyclegan.train.engine.formulas import Formulas
from cyclegan.train.engine.state import build_state
from cyclegan.train.engine.step import TrainEngine, train_step
from cyclegan.train.loop import set_rates
from cyclegan.train.monitor.telemetry import Telemetry
from tests.support.compiling import COMPILER_MARKS
from tests.support.dispatched import dispatched

pytestmark = [pytest.mark.compile, *COMPILER_MARKS]
PIXEL_MM = (1.0, 1.0)
CPU = torch.device("cpu")
MOST_OPERATORS = 150


def narrow(guide: str) -> Config:
    """The default with thin networks; their width and depth change nothing outside of them."""
    base = default()
    return replace(
        base,
        batch=replace(base.batch, shards=1, shard_size=2),
        generator=replace(base.generator, filters=4, blocks=1, guide=guide),
        discriminator=replace(base.discriminator, filters=4),
    )


def ellipse(side: int) -> Tensor:
    line = torch.linspace(-1, 1, side)
    return ((line[:, None] / 0.8) ** 2 + (line / 0.7) ** 2 < 1).float().expand(2, 1, side, side)


@pytest.mark.parametrize("guide", ["none", "table"])
def test_a_step_dispatches_few_operators(tmp_path, guide):
    """With everything around it: rates, conditions, image statistics, telemetry."""
    torch._dynamo.reset()
    config, side = narrow(guide), 256
    state = build_state(config, size=(side, side), shards=range(1), device=CPU)
    how = {"dynamic": False, "fullgraph": True, "backend": "aot_eager"}
    for module in (state.generators, state.discriminators):
        module.compile(**how)
    engine = TrainEngine(
        generators=state.generators,
        discriminators=state.discriminators,
        autocast=nullcontext,
        formulas=Formulas().mapped(partial(torch.compile, **how)),
    )
    generator = torch.Generator().manual_seed(1)
    mri, ct = torch.rand(2, 2, 1, side, side, generator=generator) * 2 - 1
    body, height = ellipse(side), torch.rand(2, generator=generator)

    def step() -> None:
        set_rates(state, config, 100)
        batch = Batch(
            mri=engine.formulas.with_conditions(mri, body, height, PIXEL_MM),
            ct=engine.formulas.with_conditions(ct, body, height, PIXEL_MM),
            mri_body=body,
            ct_body=body,
            pixel_mm=PIXEL_MM,
        )
        telemetry.add(train_step(state, engine, batch, config.loss.at(state.step, 100), 0.9))

    with closing(
        Telemetry(tmp_path, is_rank_zero=False, first_step=0, global_batch=2)
    ) as telemetry:
        step()
        state.step = MEASURE_EVERY_STEPS
        found = dispatched(step)

    assert found["compiled region"] >= 12  # generators, both discriminators, and losses, twice
    assert found["aten::_fused_adam_"] == 2
    assert found.total() <= MOST_OPERATORS, found.most_common()


def losses_and_gradients(formulas: Formulas) -> dict[str, Tensor]:
    """Results of every formula for the same images, and the gradients of the losses."""
    side = 48
    generator = torch.Generator().manual_seed(2)

    def image(channels: int, size: int = side) -> Tensor:
        drawn = torch.rand(2, channels, size, size, generator=generator) * 2 - 1
        return drawn.requires_grad_()

    body, height = ellipse(side), torch.rand(2, generator=generator)
    mri, ct = (
        formulas.with_conditions(image(1).detach(), body, height, PIXEL_MM) for _ in range(2)
    )
    made = Translated(*(image(channels) for channels in (3, 3, 1, 1, 1, 1)))
    scores = image(1, 4), image(1, 4)
    made = made._replace(companion_mri=image(1))
    batch = Batch(
        mri=mri,
        ct=ct,
        mri_body=body,
        ct_body=body.roll(3, -1),
        companion=image(1).detach(),
        trust=image(2).detach().abs(),
        pixel_mm=PIXEL_MM,
    )
    everything = LossConfig().mapped(lambda term: replace(term, enabled=True))
    weights = {name: torch.tensor(w) for name, w in everything.effective_weights.items()}
    terms = formulas.generator_terms(batch, made, scores, weights)
    terms["loss/generators"].backward()
    judged = formulas.discriminator_terms(*scores)
    (judged["loss/discriminator_mri"] + judged["loss/discriminator_ct"]).backward()
    given = dict(zip([*made._fields, "mri_scores", "ct_scores"], [*made, *scores], strict=True))
    gradients = {f"{name}.grad": tensor.grad for name, tensor in given.items()}
    signs = formulas.image_statistics(batch, Translated(*(each.detach() for each in made)))
    conditions = {"conditions of MRI": mri, "conditions of CT": ct}
    return {n: x.detach() for n, x in (terms | judged | signs | gradients | conditions).items()}


def test_compiled_formulas_are_the_eager_ones_within_a_millionth():
    torch._dynamo.reset()
    expected = losses_and_gradients(Formulas())

    found = losses_and_gradients(Formulas().mapped(partial(torch.compile, dynamic=False)))

    assert found.keys() == expected.keys()
    for name, value in found.items():
        error = (value - expected[name]).norm() / expected[name].norm()
        assert error < 1e-6, f"{name}: {error:.1e}"
