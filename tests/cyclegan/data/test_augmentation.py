"""Variation: what a number means for a picture, against what numpy does to a small one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import Augmentation
from cyclegan.data.philox import Stream

SIZE = (6, 4)


def sampled(picture: np.ndarray, spacing_yx_mm: tuple[float, float], **one: Any) -> np.ndarray:
    """The picture seen through a matrix that sends pixel centres to pixel centres."""
    augmentation = replace(Augmentation.none(1), **{name: np.array([v]) for name, v in one.items()})
    (matrix,) = augmentation.matrices(picture.shape, spacing_yx_mm)
    result = np.zeros_like(picture)
    for y, x in np.ndindex(picture.shape):
        column, row = (matrix @ (x + 0.5, y + 0.5, 1))[:2] - 0.5
        assert abs(column - round(column)) < 1e-5
        assert abs(row - round(row)) < 1e-5
        if 0 <= round(row) < picture.shape[0] and 0 <= round(column) < picture.shape[1]:
            result[y, x] = picture[round(row), round(column)]
    return result


PICTURE = np.arange(1, 25).reshape(SIZE)


def test_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(sampled(PICTURE, (1, 1)), PICTURE)


def test_a_flip_mirrors_left_to_right() -> None:
    np.testing.assert_array_equal(sampled(PICTURE, (1, 1), flip=True), PICTURE[:, ::-1])


def test_a_shift_moves_down_and_right_by_a_share_of_the_side() -> None:
    moved = sampled(PICTURE, (1, 1), shift=(2 / 6, 1 / 4))

    np.testing.assert_array_equal(moved[2:, 1:], PICTURE[:-2, :-1])
    assert not moved[:2].any()
    assert not moved[:, :1].any()


def test_a_positive_angle_turns_counter_clockwise() -> None:
    square = PICTURE[:4]

    np.testing.assert_array_equal(sampled(square, (1, 1), rotate_degrees=90.0), np.rot90(square))


def test_the_mirror_comes_before_the_rotation() -> None:
    square = PICTURE[:4]

    both = sampled(square, (1, 1), flip=True, rotate_degrees=90.0)

    np.testing.assert_array_equal(both, np.rot90(square[:, ::-1]))


def test_a_zoom_below_one_shrinks_about_the_centre() -> None:
    large = np.kron(PICTURE, np.ones((3, 3), int))

    shrunk = sampled(large, (1, 1), zoom=1 / 3)

    np.testing.assert_array_equal(shrunk, np.pad(PICTURE, [(6, 6), (4, 4)]))


def test_a_rotation_keeps_lengths_where_rows_are_thicker_than_columns() -> None:
    # 4 rows of 2 mm and 8 columns of 1 mm: a square of 8 mm, turned by a quarter
    tall = np.zeros((4, 8), int)
    tall[:, 2:6] = 1  # a bar of 4 mm x 8 mm, upright
    augmentation = replace(Augmentation.none(1), rotate_degrees=np.array([90.0]))
    (matrix,) = augmentation.matrices((4, 8), (2.0, 1.0))

    x, y = np.meshgrid(np.arange(8) + 0.5, np.arange(4) + 0.5)
    source = np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)]))
    turned = tall[np.floor(source[1]).astype(int), np.floor(source[0]).astype(int)]

    lying = np.zeros((4, 8), int)
    lying[1:3] = 1  # 8 mm x 4 mm
    np.testing.assert_array_equal(turned, lying)


def test_parameters_fill_the_configured_ranges() -> None:
    config = DataConfig(
        rotate_degrees=15,
        zoom=(0.8, 1.25),
        translate_fraction=0.1,
        contrast=0.2,
        gamma=(0.7, 1.5),
        bias_field=0.1,
        blur_mm=2,
        noise=0.05,
    )

    drawn = Augmentation.draw(config, 0, Stream.MRI_VARIATION, np.arange(4000))

    for values, low, high in [
        (drawn.rotate_degrees, -15, 15),
        (drawn.zoom, 0.8, 1.25),
        (drawn.shift, -0.1, 0.1),
        (drawn.gain, 0.8, 1.2),
        (drawn.gamma, 0.7, 1.5),
        (drawn.bias, -0.1, 0.1),
        (drawn.blur_mm, 0, 2),
        (drawn.noise, 0, 0.05),
        (drawn.noise_offset, 0, 1),
    ]:
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)
    assert drawn.flip.mean() == pytest.approx(0.5, abs=0.04)
    assert np.log(drawn.zoom).mean() == pytest.approx(0, abs=0.01)  # as often smaller as larger


INTENSITIES: dict[str, Any] = {
    "contrast": 0.5,
    "gamma": (0.5, 2.0),
    "bias_field": 0.5,
    "blur_mm": 2.0,
    "noise": 0.5,
}


def test_hounsfield_units_keep_their_meaning() -> None:
    drawn = Augmentation.draw(DataConfig(**INTENSITIES), 0, Stream.CT_VARIATION, np.arange(100))

    none = Augmentation.none(100)
    for name in ("gain", "gamma", "bias", "blur_mm", "noise"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(none, name))


def test_a_share_of_the_slices_is_changed_by_each_independently() -> None:
    config = DataConfig(**INTENSITIES, intensity_share=0.2)

    drawn = Augmentation.draw(config, 0, Stream.MRI_VARIATION, np.arange(4000))

    by = {
        "gamma": drawn.gamma != 1,
        "bias": drawn.bias.any(axis=1),
        "blur": drawn.blur_mm > 0,
        "noise": drawn.noise > 0,
    }
    for chosen in by.values():
        assert chosen.mean() == pytest.approx(0.2, abs=0.02)
    together = np.corrcoef(np.stack(list(by.values())).astype(float)) - np.eye(len(by))
    assert abs(together).max() < 0.05
    assert np.log(drawn.gamma).mean() == pytest.approx(0, abs=0.01)  # as often darker as brighter


def test_changes_of_intensity_move_nothing() -> None:
    plain, changed = (
        Augmentation.draw(config, 0, Stream.MRI_VARIATION, np.arange(50))
        for config in (DataConfig(), DataConfig(**INTENSITIES))
    )

    sizes = (64, 48), (1, 1)
    np.testing.assert_array_equal(changed.matrices(*sizes), plain.matrices(*sizes))


def test_the_default_set_is_that_of_the_seed_project() -> None:
    config = DataConfig()

    assert config.flip
    assert config.rotate_degrees == 15
    assert config.zoom == (0.9, 1.1)
    assert not config.changes_intensity


def test_what_is_switched_off_changes_nothing() -> None:
    config = DataConfig(flip=False, rotate_degrees=0, zoom=(1, 1), translate_fraction=0, contrast=0)

    drawn = Augmentation.draw(config, 0, Stream.MRI_VARIATION, np.arange(50))

    unchanged = Augmentation.none(50).matrices((64, 48), (1, 1))
    np.testing.assert_array_equal(drawn.matrices((64, 48), (1, 1)), unchanged)
    np.testing.assert_array_equal(drawn.gain, 1)
