"""A new scan is laid on the axis that its model has learned, whatever part of the body it shows."""

from dataclasses import replace

import numpy as np

from cyclegan.export.metadata import parse_info, write_info
from cyclegan.export.training_stats import unfamiliar_properties
from cyclegan.translate.engine import prepare_input
from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.imaging.volume import Volume
from tests.cyclegan.export.test_height_code import AXIS
from tests.cyclegan.translate.conftest import centred
from tests.support.models import INFO
from tests.support.round_heads import COLUMNS_MM, ROWS_MM, SPACING_MM, round_head

MODEL = replace(
    INFO,
    conditions=True,
    height_axis=AXIS,
    preprocessing=PreprocessingSpec(spacing_mm=SPACING_MM, size=(64, 64)),
)


def scan(body: np.ndarray) -> Volume:
    """A CT of a body on the grid of the model."""
    noise = np.random.default_rng(0).normal(0, 10, body.shape)
    dz, dy, dx = SPACING_MM
    return Volume(
        voxels=np.where(body, 40 + noise, -1000).astype(np.float32),
        affine=centred(np.diag([-dx, -dy, dz]), body.shape),
        modality="ct",
        pseudonym="",
    )


def test_slices_of_a_cut_scan_have_the_heights_of_the_whole():
    whole, cut = (prepare_input(MODEL, scan(round_head(1, *mm))) for mm in ((0, 0), (30, 15)))

    difference = whole.height[5:-10] - cut.height

    assert np.abs(difference).max() * (AXIS.high_mm - AXIS.low_mm) <= 3
    assert whole.placement.misfit_mm < 5
    assert not any("outline" in text for text in unfamiliar_properties(MODEL.trained_on, cut))


def test_another_part_of_the_body_is_told():
    thigh = np.broadcast_to(np.hypot(COLUMNS_MM, ROWS_MM) < 30, (40, 64, 64))

    texts = unfamiliar_properties(MODEL.trained_on, prepare_input(MODEL, scan(thigh)))

    assert any("so the heights of its slices are not known" in text for text in texts)


def test_a_body_that_the_slices_cut_lies_where_conversion_lays_it():
    wide = np.kron(round_head(1), np.ones((1, 2, 2), bool))
    stored = preprocess(scan(wide), MODEL.preprocessing)
    assert stored.whole_size

    shown = prepare_input(MODEL, scan(wide))

    assert shown.body.shape[1:] > stored.body.shape[1:]
    assert shown.placement == AXIS.place(stored.outline, SPACING_MM)


def test_an_outline_that_reaches_too_far_is_told_without_a_number():
    shown = prepare_input(MODEL, scan(round_head(1)))
    beyond = replace(shown, axis=replace(AXIS, sizes_mm=AXIS.sizes_mm[:50], low_mm=0, high_mm=49))

    texts = unfamiliar_properties(MODEL.trained_on, beyond)

    assert any("reaches too far beyond" in text for text in texts)
    assert not any("inf" in text for text in texts)


def test_the_axis_comes_back_from_the_file(tmp_path):
    info = replace(MODEL, inputs=("depth below the surface", "ct", "height"), direction="to_mri")
    write_info(info, tmp_path)

    assert parse_info((tmp_path / "model.json").read_bytes(), tmp_path).height_axis == AXIS
