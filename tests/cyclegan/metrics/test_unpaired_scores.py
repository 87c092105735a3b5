"""Without pairs, cycles and populations still tell a good generator from a bad one."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import braycurtis
from scipy.stats import wasserstein_distance
from skimage.metrics import structural_similarity

from cyclegan.metrics.baselines import constant_soft_tissue
from cyclegan.metrics.selection_score import CYCLE_WEIGHT, VALUES_WEIGHT, selection_score
from cyclegan.metrics.unpaired_scores import (
    bone_depth_mismatch,
    ct_statistics_of,
    cycle_scores,
    hu_distance,
    pool_statistics,
)
from tests.support.stores import random_head

RNG = np.random.default_rng(5)
SPACING_MM = (3.0, 2.0, 2.0)
HEADS = [random_head(RNG, (6, 64, 64)) for _ in range(4)]
REAL = pool_statistics(ct_statistics_of(head["ct"], head["body"], SPACING_MM) for head in HEADS[:2])


def population(paint):
    """Two other heads whose CT is `paint`ed from the MRI and the real CT."""
    return pool_statistics(
        ct_statistics_of(paint(head), head["body"], SPACING_MM) for head in HEADS[2:]
    )


def test_cycle_ssim_is_scikit_images_mean_over_slices():
    original, returned = np.full((2, 11, 1, 64, 64), -1.0, np.float32)
    # In air, so that the two libraries' ways with the border do not matter.
    head = np.s_[:, :, 12:-12, 12:-12]
    original[head] = RNG.uniform(-1, 1, (11, 1, 40, 40))
    returned[head] = (
        original[head] + RNG.normal(0, RNG.uniform(0.1, 0.5, (11, 1, 1, 1)), (11, 1, 40, 40))
    ).clip(-1, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(x[0], y[0], data_range=2, full=True, **settings)[1]
        for x, y in zip(original, returned, strict=True)
    ]
    scores = cycle_scores(torch.from_numpy(original), torch.from_numpy(returned))
    assert scores["cycle_ssim"] == pytest.approx(np.mean(maps), abs=1e-5)


def test_cycle_psnr_of_a_constant_error_has_a_closed_form():
    original = torch.zeros(2, 1, 16, 16)
    assert cycle_scores(original, original + 0.2)["cycle_psnr_db"] == pytest.approx(20, abs=1e-4)


def test_a_perfect_cycle_has_finite_scores_even_under_bf16_autocast():
    image = torch.rand(2, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert cycle_scores(image, image) == {
            "cycle_ssim": pytest.approx(1, abs=1e-6),
            "cycle_psnr_db": 100,
        }


def test_hu_distance_is_scipys_wasserstein_distance():
    one, other = RNG.integers(-1024, 3072, 500), RNG.integers(-200, 900, 300)
    body = np.ones((1, 1, 500))
    oracle = wasserstein_distance(one, other)
    ours = ct_statistics_of(one[None, None], body, SPACING_MM)
    theirs = ct_statistics_of(other[None, None], body[..., :300], SPACING_MM)
    assert hu_distance(ours, theirs) == pytest.approx(oracle, rel=1e-9)


def test_bone_depth_is_measured_in_mm_from_the_nearest_voxel_outside():
    body = np.zeros((3, 5, 41))
    body[:, :, 1:-1] = 1
    hu = np.zeros(body.shape)
    hu[:, :, 4] = 700  # 4 voxels of 2.5 mm from the air in column 0
    depths = ct_statistics_of(hu, body, (1.0, 1.0, 2.5)).bone_depth
    assert depths.tolist() == [0] * 5 + [15] + [0] * 44


def test_bone_depth_mismatch_is_scipys_bray_curtis_of_shares():
    thick = population(lambda head: np.where(head["ct"] > 20, 900, head["ct"]))
    oracle = braycurtis(thick.bone_share, REAL.bone_share)
    assert 0.3 < oracle < 1
    assert bone_depth_mismatch(thick, REAL) == pytest.approx(oracle)


def test_no_bone_at_all_matches_nothing():
    boneless = population(lambda head: np.full(head["ct"].shape, 40.0))
    assert bone_depth_mismatch(boneless, REAL) == 1
    assert bone_depth_mismatch(boneless, boneless) == 0


def test_selection_ranks_truth_before_a_blurred_skull_before_one_painted_on_the_scalp():
    truth = population(lambda head: head["ct"])
    blurred = population(lambda head: gaussian_filter(head["ct"].astype(float), (0, 0.7, 0.7)))
    # Contrast lock-in: bright scalp fat became bone, dark bone became fat.
    locked = population(
        lambda head: np.where(head["mri"] > 650, 1200, np.where(head["ct"] > 250, -90, head["ct"]))
    )
    costs = [selection_score(synthetic, REAL, 0.9) for synthetic in (truth, blurred, locked)]
    assert costs == sorted(costs)
    assert costs[2] - costs[1] > 0.1, costs


def test_constant_soft_tissue_costs_all_of_the_bone_and_half_of_the_values():
    constant = population(lambda head: constant_soft_tissue(head["body"]))
    assert selection_score(constant, REAL, 1.0) == pytest.approx(1 + VALUES_WEIGHT / 2)


def test_the_best_score_is_zero_and_a_lost_cycle_costs_little_and_something():
    assert selection_score(REAL, REAL, 1.0) == 0
    assert selection_score(REAL, REAL, 0.7) == pytest.approx(CYCLE_WEIGHT * 0.3)
