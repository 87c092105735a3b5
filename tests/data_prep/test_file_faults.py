"""I18: voxels that show nothing, or are no HU and no magnitudes, are refused; odd ones pass."""

import numpy as np
import pytest

from data_prep.errors import VolumeError
from data_prep.rescale import check_picture

SHAPE = (8, 40, 36)
Z, Y, X = np.indices(SHAPE)
INSIDE = ((Y - 19.5) / 15) ** 2 + ((X - 17.5) / 12) ** 2 < 1
NOISE = np.random.default_rng(0).normal(0, 1, SHAPE)
HEAD_CT = np.where(INSIDE, 40 + 9 * NOISE, -1000 + 9 * NOISE)
HEAD_MRI = np.abs(np.where(INSIDE, 500 + 50 * NOISE, 9 * NOISE))


def with_some(values, number, voxels=1):
    changed = values.copy()
    changed.flat[:voxels] = number
    return changed


def refusal(values, modality) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        check_picture(np.asarray(values, np.float32), modality)
    return caught.value


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(number):
    error = refusal(with_some(HEAD_CT, number, 1152), "ct")

    assert error.code == "not-finite"
    assert "1,152 voxels (10.00%)" in error.reason


@pytest.mark.parametrize(
    ("code", "modality", "values"),
    [
        ("constant", "ct", np.full(SHAPE, 40.0)),
        ("constant", "mri", np.zeros(SHAPE)),
        ("all-air", "ct", -1000 + 9 * NOISE),
        ("all-air", "ct", with_some(-1000 + 9 * NOISE, 3000, 5)),
        ("negative-magnitudes", "mri", with_some(HEAD_MRI, -32768)),
        ("negative-magnitudes", "mri", np.angle(NOISE + 1j * NOISE[::-1])),
        ("negative-magnitudes", "mri", -HEAD_MRI / 10),
        ("modality-conflict", "mri", HEAD_CT),
    ],
)
def test_what_is_no_picture_of_its_modality_is_refused(code, modality, values):
    assert refusal(values, modality).code == code


@pytest.mark.parametrize(
    ("modality", "values"),
    [
        ("ct", HEAD_CT),
        ("ct", with_some(HEAD_CT, -3024, 500)),
        ("ct", with_some(HEAD_CT, 30000)),
        ("ct", np.where((Y < 4) & (X < 4), 40, -1000)),
        ("mri", HEAD_MRI),
        ("mri", HEAD_MRI / 1e4),
        ("mri", (HEAD_MRI - HEAD_MRI.mean()) / HEAD_MRI.std()),
        ("mri", HEAD_MRI - 20),
        ("mri", with_some(HEAD_MRI, 65535)),
        ("mri", INSIDE),
    ],
)
def test_what_is_odd_but_legal_passes(modality, values):
    check_picture(np.asarray(values, np.float32), modality)
