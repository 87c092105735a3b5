"""The synthetic head has what a head has, where a head has it, twice the same for the same seed."""

import numpy as np
import pytest
from scipy import ndimage

from data_prep.phantom.anatomy import make_anatomy
from data_prep.phantom.person import Subject
from data_prep.phantom.tissue import Tissue
from tests.support.heads import SPACING_MM, rng


def test_every_voxel_is_filled_exactly_once(head):
    np.testing.assert_allclose(head.fractions.sum(0), 1, atol=1e-5)
    assert head.fractions.min() >= 0


def test_the_same_subject_is_the_same_head_and_another_is_another(head):
    again = make_anatomy(Subject(), spacing_mm=SPACING_MM)
    other = make_anatomy(Subject.draw(rng()), spacing_mm=SPACING_MM)

    np.testing.assert_array_equal(again.fractions, head.fractions)
    skull, other_skull = (a.fractions[Tissue.BONE] > 0.3 for a in (head, other))
    assert 2 * (skull & other_skull).sum() / (skull.sum() + other_skull.sum()) < 0.8


@pytest.mark.parametrize(
    ("tissue", "low_ml", "high_ml"),
    [
        # Wide on purpose, since nobody fitted the phantom. BrainWeb's: 903, 671, 372 ml.
        (Tissue.GREY, 450, 950),
        (Tissue.WHITE, 350, 750),
        (Tissue.CSF, 120, 500),
        (Tissue.BONE, 250, 800),
        (Tissue.MARROW, 100, 600),
    ],
)
def test_volumes_of_tissues_are_those_of_an_adult(head, tissue, low_ml, high_ml):
    volume_ml = head.fractions[tissue].sum() * SPACING_MM**3 / 1000

    assert low_ml < volume_ml < high_ml


def test_the_skull_is_a_closed_shell_of_tables_around_marrow_at_the_vertex(head):
    x, y = (round(-head.affine[i, 3] / SPACING_MM) for i in (0, 1))
    column = head.fractions[:, :, y, x][:, ::-1]  # from above the vertex down

    order = [int(np.argmax(column[tissue])) for tissue in (Tissue.FAT, Tissue.MARROW)]
    assert order == sorted(order)
    above, below = column[Tissue.BONE, order[1] - 1], column[Tissue.BONE, order[1] + 1]
    assert above > 0.2
    assert below > 0.2


def test_the_cranial_cavity_holds_no_air_although_the_sinuses_beside_it_do(head):
    x, y, z = np.meshgrid(
        *(
            head.affine[i, 3] + SPACING_MM * np.arange(n)
            for i, n in zip((2, 1, 0), head.fractions.shape[1:], strict=True)
        ),
        indexing="ij",
    )[::-1]
    air = head.fractions[Tissue.AIR]

    assert air[(x**2 + (y + 6) ** 2 + (z - 20) ** 2) < 38**2].max() < 1e-5
    assert air[(abs(abs(x) - 25) < 8) & (abs(y - 48) < 8) & (abs(z + 63) < 8)].mean() > 0.8


def test_the_cortex_is_folded(head):
    """A smooth brain of this volume has a third of the surface between grey matter and white."""
    white = ndimage.binary_opening(head.fractions[Tissue.WHITE] > 0.5)
    surface = sum(np.abs(np.diff(white.astype(np.int8), axis=axis)).sum() for axis in range(3))
    ball = 1.5 * (36 * np.pi) ** (1 / 3) * white.sum() ** (2 / 3)  # in voxel faces

    assert surface > 3 * ball
