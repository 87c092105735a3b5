"""The paired scores are the ones of the SynthRAD challenges."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cyclegan.metrics.paired_scores import (
    air_mae_hu,
    all_paired_scores,
    bias_hu,
    bone_dice,
    height_mae_hu,
    histogram_hu,
    mae_hu,
    paired_scores,
    psnr_db,
    ssim,
    tissue_mae_hu,
)
from cyclegan.metrics.protocol import PROTOCOLS

RNG = np.random.default_rng(11)
SHAPE = (12, 20, 18)
REAL = RNG.integers(-1024, 3072, SHAPE).astype(np.int16)
SYNTHETIC = (REAL + RNG.normal(0, 300, SHAPE)).astype(np.float32)
BODY = np.zeros(SHAPE, np.uint8)
BODY[1:-1, 3:-4, 2:-2] = 1
INSIDE = BODY == 1


def test_mae_is_the_mean_over_the_body_without_clipping():
    far = np.where(INSIDE, REAL + 5000.0, 1e9)
    assert mae_hu(far, REAL, BODY) == pytest.approx(5000)


def test_differences_of_whole_numbers_do_not_overflow():
    low, high = np.full(SHAPE, -32000, np.int16), np.full(SHAPE, 32000, np.int16)
    assert mae_hu(low, high, BODY) == 64000


def test_psnr_equals_that_of_scikit_image_on_clipped_body_voxels():
    oracle = peak_signal_noise_ratio(
        REAL[INSIDE].astype(np.float64),
        SYNTHETIC[INSIDE].astype(np.float64).clip(-1024, 3071),
        data_range=4095,
    )
    assert psnr_db(SYNTHETIC, REAL, BODY) == pytest.approx(oracle, abs=1e-9)


def test_psnr_of_a_constant_error_has_a_closed_form():
    soft = np.zeros(SHAPE, np.float32)
    assert psnr_db(soft + 409.5, soft, BODY) == pytest.approx(20)


def test_ssim_equals_the_map_of_scikit_image_averaged_over_the_body():
    x, y = (
        np.where(INSIDE, image.astype(np.float64).clip(-1024, 3071) + 1024, 0)
        for image in (SYNTHETIC, REAL)
    )
    _, similarity = structural_similarity(x, y, data_range=4095, full=True)
    oracle = similarity[3:-3, 3:-3, 3:-3][INSIDE[3:-3, 3:-3, 3:-3]].mean()
    assert ssim(SYNTHETIC, REAL, BODY) == pytest.approx(oracle, abs=1e-9)


def test_ssim_of_a_volume_thinner_than_its_window_is_a_number():
    assert 0 < ssim(SYNTHETIC[3:6], REAL[3:6], BODY[3:6]) < 1


def test_dice_counts_overlap_twice():
    real, synthetic = np.zeros(SHAPE), np.zeros(SHAPE)
    real[5, 5:9, 5] = 251  # 4 voxels
    synthetic[5, 7:13, 5] = 800  # 6 voxels, 2 of them shared
    synthetic[0, 0, 0] = 800  # outside the body
    assert bone_dice(synthetic, real, BODY) == pytest.approx(2 * 2 / (4 + 6))


def test_bone_starts_above_250_hu():
    at, above = np.full(SHAPE, 250.0), np.full(SHAPE, 250.5)
    assert bone_dice(at, above, BODY) == 0
    assert bone_dice(at, at, BODY) == 1


def test_identical_volumes_get_the_best_scores_and_finite_ones():
    assert paired_scores(REAL, REAL, BODY) == {
        "mae_hu": 0,
        "psnr_db": pytest.approx(100),
        "ssim": pytest.approx(1),
        "bone_dice": 1,
    }


def test_nothing_outside_the_body_counts():
    changed = np.where(INSIDE, SYNTHETIC, RNG.normal(0, 1000, SHAPE))
    assert paired_scores(changed, np.where(INSIDE, REAL, 0), BODY) == pytest.approx(
        paired_scores(SYNTHETIC, REAL, BODY)
    )


def test_a_shift_of_ten_hu_is_an_error_and_a_bias_of_ten_in_every_tissue():
    scores = all_paired_scores(REAL - 10.0, REAL, BODY, spacing_mm=(3, 1, 1))
    assert scores["mae_hu"] == 10
    assert scores["bias_hu"] == -10
    assert [scores[f"mae_{tissue}_hu"] for tissue in ("air", "soft", "bone")] == [10, 10, 10]


def test_tissues_are_what_the_real_ct_shows_with_their_limits_in_soft_tissue():
    real = np.array([-201.0, -200.0, 250.0, 251.0]).reshape(1, 2, 2)
    errors = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 2, 2)
    assert tissue_mae_hu(real + errors, real, np.ones(real.shape)) == {
        "mae_air_hu": 1,
        "mae_soft_hu": 3,
        "mae_bone_hu": 8,
    }
    assert "mae_air_hu" not in tissue_mae_hu(real, np.zeros(real.shape), np.ones(real.shape))


def test_by_hand_only_the_masked_voxels_of_a_cube_count():
    real, synthetic = np.zeros((4, 4, 4)), np.full((4, 4, 4), 1000.0)
    body = np.zeros((4, 4, 4))
    body[1, 1, :2] = 1
    synthetic[1, 1, :2] = [30, -50]
    assert mae_hu(synthetic, real, body) == 40
    assert bias_hu(synthetic, real, body) == -10
    assert psnr_db(synthetic, real, body) == pytest.approx(
        10 * np.log10(4095**2 / ((30**2 + 50**2) / 2))
    )


def test_the_protocol_of_2023_clips_at_3000_and_has_one_scale():
    dense = np.full(SHAPE, 3071.0)
    protocol = PROTOCOLS["synthrad2023"]
    assert psnr_db(dense, dense - 71, BODY, protocol) == 100
    assert psnr_db(np.zeros(SHAPE), np.full(SHAPE, 402.4), BODY, protocol) == pytest.approx(20)
    scores = all_paired_scores(SYNTHETIC, REAL, BODY, spacing_mm=(3, 1, 1), protocol=protocol)
    assert "ms_ssim" not in scores


@pytest.mark.parametrize(
    ("synthetic", "real", "body", "message"),
    [
        (SYNTHETIC, REAL, np.zeros(SHAPE), "mask is empty"),
        (SYNTHETIC[1:], REAL, BODY, "one grid"),
        (np.where(INSIDE, np.nan, SYNTHETIC), REAL, BODY, "NaN"),
    ],
)
def test_what_would_give_a_meaningless_number_is_refused(synthetic, real, body, message):
    with pytest.raises(ValueError, match=message):
        paired_scores(synthetic, real, body)


def test_a_nan_outside_the_body_is_nobodys_business():
    hole = np.where(INSIDE, SYNTHETIC, np.nan)
    assert paired_scores(hole, REAL, BODY) == paired_scores(SYNTHETIC, REAL, BODY)


def test_all_air_has_no_bone_and_no_distance_of_it():
    air = np.full(SHAPE, -1000.0)
    scores = all_paired_scores(air, air, BODY, spacing_mm=(3, 1, 1))
    assert scores["bone_dice"] == 1
    assert "bone_hd95_mm" not in scores
    assert scores["ms_ssim"] == pytest.approx(1)


def test_the_error_is_told_by_tenths_of_the_height():
    real = np.zeros((22, 2, 2))
    body = np.zeros(real.shape)
    body[1:21] = 1  # 20 slices, two in a slab
    synthetic = real + np.arange(22.0)[:, None, None]
    expected = [1.5, 3.5, 5.5, 7.5, 9.5, 11.5, 13.5, 15.5, 17.5, 19.5]
    assert height_mae_hu(synthetic, real, body) == pytest.approx(expected)
    body[5:9] = 0
    assert height_mae_hu(synthetic, real, body)[2:4] == [None, None]


def test_a_few_slices_fill_a_few_slabs():
    body = np.ones((2, 3, 3))
    assert height_mae_hu(body * 30, body * 10, body) == [20, *[None] * 4, 20, *[None] * 4]


def test_the_histogram_distance_is_scipys_wasserstein_distance_inside_the_body():
    oracle = wasserstein_distance(np.rint(SYNTHETIC[INSIDE].clip(-1024, 3071)), REAL[INSIDE])
    assert histogram_hu(SYNTHETIC, REAL, BODY) == pytest.approx(oracle, rel=1e-9)
    shuffled = np.zeros(SHAPE)
    shuffled[INSIDE] = np.random.default_rng(1).permutation(REAL[INSIDE])
    assert histogram_hu(shuffled, REAL, BODY) == 0


def test_with_half_of_the_mask_gone_the_other_half_alone_counts():
    half = BODY.copy()
    half[: SHAPE[0] // 2] = 0
    wrong = SYNTHETIC.copy()
    wrong[: SHAPE[0] // 2] = 3000
    kept = slice(SHAPE[0] // 2, None)
    expected = np.abs(SYNTHETIC[kept] - REAL[kept].astype(float))[half[kept] == 1].mean()
    scores = all_paired_scores(wrong, REAL, half, spacing_mm=(3, 1, 1))
    assert scores["mae_hu"] == pytest.approx(expected)
    assert scores["ms_ssim"] == pytest.approx(
        all_paired_scores(SYNTHETIC, REAL, half, spacing_mm=(3, 1, 1))["ms_ssim"]
    )


def test_identity_is_perfect_in_every_score():
    scores = all_paired_scores(REAL, REAL, BODY, spacing_mm=(3, 1, 1))
    errors = {name for name in scores if name.startswith("mae_")}
    assert {name for name, score in scores.items() if score == pytest.approx(0)} == {
        *errors,
        "bias_hu",
        "histogram_hu",
        "bone_hd95_mm",
    }
    assert [scores[name] for name in ("ssim", "ms_ssim", "bone_dice")] == pytest.approx([1, 1, 1])


def test_air_of_the_rim_and_of_cavities_is_told_apart():
    body = np.zeros((5, 12, 12), bool)
    body[:, 2:10, 2:10] = True  # cut by the lowest and the highest slice, which are no surface
    real = np.where(body, 40.0, -1024.0)
    real[:, 2, 2:10] = -500  # skin's partial volume
    real[:, 5:7, 5:7] = -1000  # a sinus
    synthetic = real.copy()
    synthetic[:, 2, 2:10] += 30
    synthetic[:, 5:7, 5:7] += 900

    assert air_mae_hu(synthetic, real, body) == {
        "mae_air_rim_hu": 30.0,
        "mae_air_cavity_hu": 900.0,
    }
    assert air_mae_hu(synthetic, np.full(body.shape, 40.0), body) == {}
