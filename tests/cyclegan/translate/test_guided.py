"""A guided model carries its look-up: a volume is translated by nothing but the model's folder."""

import numpy as np
import pytest

from cyclegan.atlas.positions import positions_of
from cyclegan.config.config import GeneratorConfig
from cyclegan.contrast.fit import table_of_scans
from cyclegan.contrast.guide import fill_guide
from cyclegan.contrast.table import posterior
from cyclegan.contrast.value_bins import mri_bins
from cyclegan.export.metadata import Intensity, channels_of
from cyclegan.export.model_folder import read_model
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.translate.engine import TranslationEngine, prepare_input
from cyclegan.translate.uncertainty import uncertainty
from tests.cyclegan.translate.test_table import SPEC, TABLE_INFO, someone
from tests.support.models import publish_model


@pytest.fixture(scope="module")
def table():
    mris, cts = (
        [
            (each.voxels, each.body, each.height, SPEC.spacing_mm[1:])
            for seed in seeds
            for each in [prepare_input(TABLE_INFO, someone(seed)[kind])]
        ]
        for kind, seeds in (("mri", (1, 2)), ("ct", (3, 4)))
    )
    return table_of_scans(mris, cts)


@pytest.fixture
def engine(table, tmp_path) -> TranslationEngine:
    """An untrained guided generator, read from its folder."""
    network = GuidedGenerator(in_channels=3, filters=4, blocks=1)
    fill_guide(network.guide, table, by_value=True, mri_contrast="inverted")
    folder = publish_model(
        tmp_path / "model",
        network,
        SPEC,
        inputs=channels_of("to_ct", 0, True),
        conditions=True,
        intensity=Intensity(mri_contrast="inverted"),
        generator=GeneratorConfig(filters=4, blocks=1, guide="table"),
    )
    return TranslationEngine(model=read_model(folder))


def test_an_untrained_model_translates_to_what_its_table_says(engine, table):
    shown = prepare_input(engine.info, someone(5)["mri"])
    images = engine.images(shown)

    translated = engine.run(images, shown)

    body = shown.body.astype(bool)
    found = engine.values(translated, shown)
    here = table.prior[positions_of(shown.body, shown.height, SPEC.spacing_mm[1:])]
    expected = posterior(here, mri_bins(shown.voxels[body]), table.likelihood) @ table.bin_hu
    assert (np.abs(found[body] - expected) < 1).mean() > 0.99
    assert set(found[~body]) == {-1024}


def test_a_guess_moves_with_the_head_so_it_is_sure_of_itself(engine, monkeypatch):
    monkeypatch.setattr("cyclegan.translate.uncertainty.VOID_HU", 0.0)
    shown = prepare_input(engine.info, someone(5)["mri"])
    images = engine.images(shown)

    unsure = uncertainty(engine, None, images, engine.run(images, shown), shown)

    assert np.median(unsure[shown.body.astype(bool)]) < 1
