"""A baseline that is better than the generator is named, with both values."""

from cyclegan.evaluate.report.baseline_wins import baseline_wins, sentences_of_wins
from cyclegan.evaluate.score_table import (
    ATLAS_MEDIAN,
    LOOK_UP,
    SOFT_TISSUE,
    Scores,
    VolumeScores,
)
from cyclegan.inference.cycle import GENERATOR

OURS = {"mae_hu": 178.0, "bone_dice": 0.71, "mae_soft_hu": 97.0, "bias_hu": -4.0, "skill": -0.3}


def scores_with(**methods: dict[str, float]) -> Scores:
    rows = {GENERATOR: OURS} | {name.replace("_", " "): values for name, values in methods.items()}
    return Scores(
        split="test",
        volumes=tuple(
            VolumeScores(volume="mri/a", subject="a", modality="mri", method=name, values=values)
            for name, values in rows.items()
        ),
    )


def test_a_win_in_a_score_or_a_tissue_is_told_with_both_values():
    scores = scores_with(
        **{ATLAS_MEDIAN: {"mae_hu": 135.0, "bone_dice": 0.742, "mae_soft_hu": 98.0, "skill": 0.0}},
        constant_soft_tissue={"mae_hu": 219.0, "bone_dice": 0.0, "mae_soft_hu": 43.0},
    )

    assert baseline_wins(scores) == {
        ATLAS_MEDIAN: ["mae_hu", "bone_dice"],
        SOFT_TISSUE: ["mae_soft_hu"],
    }
    first, second = sentences_of_wins(scores)
    assert first == (
        "The baseline 'atlas, median' is better than CycleGAN in MAE, HU 135.0 against 178.0; "
        "bone Dice 0.742 against 0.710."
    )
    assert second == (
        "The baseline 'constant soft tissue' is better than CycleGAN in MAE of soft tissue, HU "
        "43.0 against 97.0."
    )


def test_what_a_guided_generator_learned_comes_first():
    scores = scores_with(**{LOOK_UP: {"mae_hu": 108.2, "bone_dice": 0.814, "patient_r": 0.64}})

    first, second = sentences_of_wins(scores)
    assert first == (
        "What the network learned on top of its look-up: MAE, HU from 108.2 to 178.0; bone Dice "
        "from 0.814 to 0.710."
    )
    assert second.startswith("The baseline 'its look-up alone' is better than CycleGAN")


def test_a_mean_error_is_better_where_it_is_closer_to_zero():
    assert baseline_wins(scores_with(**{ATLAS_MEDIAN: {"bias_hu": 3.0}})) == {
        ATLAS_MEDIAN: ["bias_hu"]
    }
    assert baseline_wins(scores_with(**{ATLAS_MEDIAN: {"bias_hu": -5.0}})) == {}


def test_a_tie_is_no_win_and_unknown_scores_are_not_compared():
    assert baseline_wins(scores_with(**{ATLAS_MEDIAN: OURS})) == {}
    assert baseline_wins(scores_with(**{ATLAS_MEDIAN: {"psnr_db": 40.0}})) == {}
