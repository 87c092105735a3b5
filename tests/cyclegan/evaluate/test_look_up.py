"""A guided generator is scored beside its look-up alone."""

import pytest
import torch

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.score_table import LOOK_UP
from cyclegan.inference.cycle import CycleNetworks
from cyclegan.nets.generator import Generator
from cyclegan.nets.guided_generator import GuidedGenerator
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("untrained") / "s.zarr"
    shape = (6, 32, 32)
    return make_store(path, mri=2, ct=2, paired=2, shape=shape, splits=("train", "test"))


def scores_of(to_ct, store):
    networks = CycleNetworks(to_ct=to_ct, to_mri=None, contrast="inverted", conditions=True)
    with torch.no_grad():
        return evaluate(networks, store, "test")


def test_before_training_both_have_the_same_scores_and_after_it_not(store):
    torch.manual_seed(0)
    to_ct = GuidedGenerator(in_channels=3, filters=4, blocks=1)
    scores = scores_of(to_ct, store)
    assert len(scores.of("mae_hu")) == 2
    assert scores.of("mae_hu") == scores.of("mae_hu", method=LOOK_UP)

    torch.nn.init.constant_(to_ct.branch[-1].bias, 0.1)  # some 200 HU
    trained = scores_of(to_ct, store)
    assert trained.of("mae_hu", method=LOOK_UP) == scores.of("mae_hu")
    assert trained.mean("mae_hu") != pytest.approx(scores.mean("mae_hu"), abs=50)


def test_other_generators_have_no_such_row(store):
    scores = scores_of(Generator(in_channels=3, filters=4, blocks=1), store)
    assert LOOK_UP not in scores.methods
