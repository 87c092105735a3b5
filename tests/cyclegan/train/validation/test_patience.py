"""A run ends early by its scores alone, and stays ended until it is given more patience."""

from dataclasses import replace
from math import inf

import pytest

from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.launch import launch
from cyclegan.train.validation.patience import is_out_of_patience, past_scores


@pytest.mark.parametrize(
    ("scores", "patience", "ends"),
    [
        ([], 1, False),
        ([1.0], 1, False),  # there is nothing before it to be no better than
        ([2.0, 1.0], 1, False),
        ([1.0, 1.0], 1, True),
        ([1.0, 2.0], 1, True),
        ([1.0, 2.0], 2, False),
        ([1.0, 2.0, 3.0], 2, True),
        ([1.0, 2.0, 0.5, 2.0], 2, False),
        ([1.0, inf, inf], 2, True),
        ([inf, inf, 5.0], 2, False),
        ([1.0] * 9, 0, False),
    ],
)
def test_the_scores_alone_decide(scores, patience, ends):
    assert is_out_of_patience(scores, patience) is ends


def test_a_run_that_gets_no_better_ends_early_and_continues_with_more_patience(config):
    # So small a rate changes no weight, and every validation gives the same score.
    rates = {"learning_rate": 1e-20, "discriminator_learning_rate": 1e-20}
    still = replace(
        config,
        optimizer=replace(config.optimizer, **rates),
        schedule=replace(config.schedule, validate_every="1 steps"),
        guard=replace(config.guard, look_every_steps=1),
        train=replace(config.train, patience=2),
    )

    state = train_worker(still, Worker())

    assert state.step == 4  # the first look after the third validation
    assert list(past_scores(still.run_folder, 4)) == [1, 2, 3]
    notes = [line["note"] for line in read_lines(still.run_folder / METRICS) if "note" in line]
    assert sum("2 validations were no better than that of step 1" in note for note in notes) == 1
    assert not launch(still)  # as one that came to its end: no Ray starts
    assert train_worker(still, Worker()).step == 5, "the old scores were forgotten"

    patient = replace(still, train=replace(still.train, patience=0))
    assert train_worker(patient, Worker()).step == 6
