"""A guided generator looks up in a slice's input what the table says of its volume."""

import numpy as np
import pytest
import torch

from cyclegan.atlas.positions import positions_of
from cyclegan.contrast.fit import table_of_scans
from cyclegan.contrast.guide import fill_guide
from cyclegan.contrast.table import ContrastTable, posterior
from cyclegan.contrast.value_bins import mri_bins
from cyclegan.inference.slices import Conditions, input_slices, to_input
from cyclegan.nets.guide import Guide
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import denormalise, robust_window
from tests.support.stores import random_head

SHAPE = (8, 64, 48)
HEIGHT = np.arange(SHAPE[0]) / (SHAPE[0] - 1)
PIXEL_MM = (3.75, 3.0)
Head = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    random = np.random.default_rng(1)
    return [random_head(random, SHAPE) for _ in range(5)]


@pytest.fixture(scope="module")
def table(heads: list[Head]) -> ContrastTable:
    def scans(modality: str, people: list[Head]):
        return [(head[modality], head["body"], HEIGHT, PIXEL_MM) for head in people]

    return table_of_scans(scans("mri", heads[:2]), scans("ct", heads[2:4]))


def inputs_of(head: Head, contrast: str) -> torch.Tensor:
    body = head["body"]
    window = robust_window(head["mri"], body)
    images = to_input(head["mri"], body, window, "mri", contrast)
    conditions = Conditions(body=body, height=HEIGHT, spacing_yx_mm=PIXEL_MM)
    return input_slices(images, torch.arange(len(images)), 1, conditions)


def looked_up(guide: Guide, image: torch.Tensor) -> np.ndarray:
    """The guess for each slice, in HU."""
    found: np.ndarray = denormalise(guide(image)[:, 0].numpy(), WINDOW_HU)
    return found


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_the_guess_is_the_mean_of_the_tables_posterior(table, heads, contrast):
    head = heads[4]
    body, guide = head["body"], Guide()
    fill_guide(guide, table, by_value=True, mri_contrast=contrast)

    found = looked_up(guide, inputs_of(head, contrast))

    here = table.prior[positions_of(body, HEIGHT, PIXEL_MM)].astype(np.float64)
    expected = posterior(here, mri_bins(head["mri"][body]), table.likelihood) @ table.bin_hu
    near = np.abs(found[body] - expected) < 0.5
    assert near.mean() > 0.995  # rounding moves a few pixels over the edge of a bin
    assert set(found[~body]) == {-1024}
    error = np.abs(found - head["ct"])[body].mean()
    assert error < 1.1 * np.abs(expected - head["ct"][body]).mean()


def test_the_atlas_is_the_mean_by_position_whatever_the_mri_shows(table, heads):
    body, guide = heads[4]["body"], Guide()
    fill_guide(guide, table, by_value=False, mri_contrast="plain")
    image = inputs_of(heads[4], "plain")

    found = looked_up(guide, image)

    expected = table.prior[positions_of(body, HEIGHT, PIXEL_MM)] @ table.bin_hu
    assert (np.abs(found[body] - expected) < 0.5).mean() > 0.995
    image[:, 1:4] = torch.rand(image[:, 1:4].shape)
    assert np.array_equal(looked_up(guide, image), found)


def test_a_slice_is_looked_up_alike_on_a_larger_canvas(table, heads):
    guide, image = Guide(), inputs_of(heads[4], "plain")
    fill_guide(guide, table, by_value=True, mri_contrast="plain")

    padded = torch.nn.functional.pad(image, (4, 8, 12, 0), value=-1.0)

    inside = guide(padded)[:, :1, 12:, 4:-8]
    assert (inside == guide(image)[:, :1]).float().mean() > 0.999
    assert torch.equal(inside[image[:, :1] == -1], guide(image)[:, :1][image[:, :1] == -1])


def test_values_that_are_not_finite_lead_to_no_place_outside_the_table(table, heads):
    guide, image = Guide(), inputs_of(heads[4], "plain")
    fill_guide(guide, table, by_value=True, mri_contrast="plain")
    image[:, 2, :32] = torch.nan
    image[:, 2, 32:] = torch.inf

    assert guide(image)[:, 0].isfinite().all()
