"""An oddity is where it is said to be, and nothing else of the head has changed."""

import numpy as np
import pytest

from data_prep.phantom.anatomy import Anatomy, make_anatomy
from data_prep.phantom.oddities import odd_subject
from data_prep.phantom.person import Subject
from data_prep.phantom.scanner import CtScan, MriScan, acquire_ct, acquire_mri
from data_prep.phantom.tissue import NUM_ORDINARY, Tissue
from tests.support.heads import SPACING_MM, rng

LOCAL = ("bone-flap", "burr-hole", "opaque-sinus", "calcification", "tumour", "metal-clip")


def odd(oddity: str) -> Anatomy:
    return make_anatomy(odd_subject(Subject(), oddity), spacing_mm=SPACING_MM)


def volume_ml(anatomy: Anatomy, *tissues: Tissue, inside: np.ndarray | None = None) -> float:
    filled = anatomy.fractions[list(tissues)].sum(0)
    return float((filled if inside is None else filled[inside]).sum()) * SPACING_MM**3 / 1000


@pytest.mark.parametrize("oddity", LOCAL)
def test_a_local_oddity_changes_its_region_alone(head, oddity):
    found = odd(oddity)

    changed = np.abs(found.fractions[:NUM_ORDINARY] - head.fractions).max(0) > 1e-6
    assert changed.sum() > 5
    assert not (changed & ~found.odd).any()
    np.testing.assert_allclose(found.fractions.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("oddity", "tissues", "low_ml", "high_ml"),
    [
        # Change of the volume within the region.
        ("bone-flap", (Tissue.BONE, Tissue.MARROW), -60, -15),
        ("burr-hole", (Tissue.BONE, Tissue.MARROW), -3, -0.4),
        ("opaque-sinus", (Tissue.AIR,), -40, -8),
        ("calcification", (Tissue.CALCIUM,), 0.8, 4),
        ("tumour", (Tissue.TUMOUR,), 15, 40),
        ("metal-clip", (Tissue.METAL,), 0.02, 0.3),
    ],
)
def test_an_oddity_has_its_size(head, oddity, tissues, low_ml, high_ml):
    found = odd(oddity)
    before = sum(volume_ml(head, t, inside=found.odd) for t in tissues if t < NUM_ORDINARY)

    change = volume_ml(found, *tissues, inside=found.odd) - before

    assert low_ml < change < high_ml


def test_thick_and_thin_skulls_hold_more_and_less_bone(head):
    def bone(anatomy):
        return volume_ml(anatomy, Tissue.BONE, Tissue.MARROW)

    assert bone(odd("thick-skull")) > 1.25 * bone(head)
    assert bone(odd("thin-skull")) < 0.8 * bone(head)


def test_a_child_is_smaller_and_a_tilted_head_is_not(head):
    whole = 1 - head.fractions[Tissue.AIR].mean()

    assert 1 - odd("child").fractions[Tissue.AIR].mean() < 0.75 * whole
    assert 1 - odd("tilt").fractions[Tissue.AIR].mean() == pytest.approx(whole, rel=0.1)
    assert odd("child").odd is None
    assert odd("tilt").odd is None


def test_a_clip_is_bright_on_ct_and_takes_more_than_itself_from_the_mri(head, grid):
    clipped = odd("metal-clip")
    metal = clipped.fractions[Tissue.METAL] > 0.3
    void = clipped.fractions[Tissue.VOID] > 0.99

    ct = acquire_ct(clipped, grid, CtScan(), rng())
    mri = acquire_mri(clipped, grid, MriScan(bias=0, snr=200), rng())

    assert ct[metal].min() > 700
    assert np.median(ct[void]) < 60
    assert void.sum() > 10 * metal.sum()
    brain = clipped.fractions[Tissue.WHITE] > 0.99
    assert np.median(mri[void]) < 0.05 * np.median(mri[brain])


def test_a_contrast_agent_brightens_the_tumour_and_hardly_the_brain(grid):
    found = odd("tumour")
    plain, given = (
        acquire_mri(found, grid, MriScan(bias=0, snr=200, contrast_agent=agent), rng())
        for agent in (False, True)
    )

    def gain(tissue):
        pure = found.fractions[tissue] > 0.99
        return np.median(given[pure]) / np.median(plain[pure])

    assert gain(Tissue.TUMOUR) > 1.5
    assert gain(Tissue.WHITE) == pytest.approx(1, abs=0.05)
