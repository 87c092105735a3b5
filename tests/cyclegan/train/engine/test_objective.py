"""The generators' loss is the sum of the terms that are on, each of the slice in the middle."""

from dataclasses import replace

import pytest
import torch

from cyclegan.config.config import LossConfig
from cyclegan.config.loss import Term
from cyclegan.data.batch import Batch
from cyclegan.nets.network_pairs import Translated
from cyclegan.train.engine import objective
from cyclegan.train.engine.objective import Terms

ALL = LossConfig().mapped(lambda term: replace(term, enabled=True))
NONE = LossConfig().mapped(lambda term: replace(term, enabled=False))


def images(channels: int = 1) -> tuple[Batch, Translated, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(6)

    def image(channels: int) -> torch.Tensor:
        return torch.rand(2, channels, 16, 16, generator=generator) * 2 - 1

    body = (image(1) > 0).float()
    batch = Batch(
        mri=image(channels),
        ct=image(channels),
        mri_body=body,
        ct_body=1 - body,
        companion=image(1),
        trust=torch.rand(2, 2, 16, 16, generator=generator),
        pixel_mm=(1.0, 1.0),
    )
    return batch, Translated(*(image(1) for _ in range(7))), (image(1), image(1))


def generator_terms(
    batch: Batch, made: Translated, scores: tuple[torch.Tensor, torch.Tensor], weights: LossConfig
) -> Terms:
    return objective.generator_terms(batch, made, scores, weights.effective_weights)


@pytest.mark.parametrize("term", NONE.terms)
def test_a_term_alone_is_the_whole_loss(term):
    weights = replace(NONE, **{term: Term(weight=3.0)})

    terms = generator_terms(*images(), weights)

    total = terms.pop("loss/generators")
    assert {
        name.removeprefix("loss/").removesuffix("_mri").removesuffix("_ct") for name in terms
    } == {term}
    torch.testing.assert_close(total, 3 * sum(terms.values()))


def test_the_loss_is_the_weighted_sum_of_its_terms():
    weights = replace(ALL, shape=Term(weight=0.5))

    terms = generator_terms(*images(), weights)

    expected = (
        terms["loss/adversarial"]
        + 10 * (terms["loss/cycle_mri"] + terms["loss/cycle_ct"])
        + 5 * terms["loss/identity"]
        + terms["loss/ssim"]
        + terms["loss/gradient"]
        + 0.5 * terms["loss/shape"]
        + terms["loss/population"]
        + terms["loss/structure"]
        + 10 * terms["loss/depth"]
        + 10 * (terms["loss/paired_mri"] + terms["loss/paired_ct"])
        + 10 * terms["loss/anchor"]
    )
    torch.testing.assert_close(terms["loss/generators"], expected)


def test_a_perfect_cycle_costs_nothing():
    batch, made, scores = images()
    perfect = made._replace(returned_mri=batch.mri, returned_ct=batch.ct)

    terms = generator_terms(batch, perfect, scores, ALL)

    for name in ("cycle_mri", "cycle_ct", "ssim", "gradient"):
        assert terms[f"loss/{name}"].item() == pytest.approx(0, abs=1e-5), name


def test_a_companion_teaches_where_it_is_trusted_and_by_its_kind():
    batch, made, scores = images()
    trust = torch.zeros(2, 2, 16, 16)
    trust[0, 0, 3, 4], trust[1, 1, 5, 6] = 0.5, 0.25
    batch = replace(batch, trust=trust)

    terms = generator_terms(batch, made, scores, ALL)

    def error(image: torch.Tensor, other: torch.Tensor, at: tuple[int, int, int, int]) -> float:
        return float((image[at] - other[at]).abs()) / (2 * 16 * 16)

    drawn, ct = made.companion_mri, batch.companion
    paired, warped = (0, 0, 3, 4), (1, 0, 5, 6)
    expected = {
        "paired_mri": 0.5 * error(drawn, batch.mri, paired),
        "paired_ct": 0.5 * error(made.fake_ct, ct, paired),
        "anchor": 0.25 * error(drawn, batch.mri, warped),
    }
    for name, value in expected.items():
        assert terms[f"loss/{name}"].item() == pytest.approx(value, rel=1e-4), name


def test_neighbouring_slices_and_conditions_are_in_no_term():
    batch, made, scores = images(channels=5)
    other = replace(batch, mri=batch.mri.roll(0).clone(), ct=batch.ct.clone())
    other.mri[:, [0, 1, 3, 4]] = 0.123
    other.ct[:, [0, 1, 3, 4]] = -0.5

    terms, expected = (generator_terms(each, made, scores, ALL) for each in (other, batch))

    assert terms == expected


def test_a_synthetic_ct_is_held_against_the_body_of_its_mri():
    batch, made, scores = images()
    fits = made._replace(fake_ct=1.2 * batch.mri_body - 1, fake_mri=1.2 * batch.ct_body - 1)
    crossed = made._replace(fake_ct=fits.fake_mri, fake_mri=fits.fake_ct)

    assert generator_terms(batch, fits, scores, ALL)["loss/shape"].item() < 0.05
    assert generator_terms(batch, crossed, scores, ALL)["loss/shape"].item() > 1.9


def test_a_synthetic_ct_is_held_against_the_real_cts_values_and_its_mris_edges():
    batch, made, scores = images()
    batch = replace(batch, mri_body=torch.ones(2, 1, 16, 16), ct_body=torch.ones(2, 1, 16, 16))
    same = made._replace(fake_ct=batch.ct, fake_mri=batch.mri)
    negative = made._replace(fake_ct=-batch.mri, fake_mri=-batch.ct)

    usual = made._replace(
        fake_ct=batch.ct.mean((2, 3), keepdim=True).expand(-1, -1, 16, 16),
        fake_mri=batch.mri.mean((2, 3), keepdim=True).expand(-1, -1, 16, 16),
    )

    assert generator_terms(batch, same, scores, ALL)["loss/population"].item() == 0
    assert generator_terms(batch, negative, scores, ALL)["loss/structure"].item() == 0
    # A body that fills the image has no surface, so it is one layer.
    assert generator_terms(batch, usual, scores, ALL)["loss/depth"].item() < 1e-6
    assert generator_terms(batch, made, scores, ALL)["loss/population"].item() > 0
    assert generator_terms(batch, same, scores, ALL)["loss/structure"].item() > 0
    assert generator_terms(batch, same, scores, ALL)["loss/depth"].item() > 0.1
