"""Events come by the clock, by pairs or by steps, and the clock is kept to what was promised."""

from dataclasses import replace

import pytest

from cyclegan.config.config import BatchConfig, Config, ScheduleConfig
from cyclegan.train.periodic_events import MAX_SHARE, PeriodicEvents


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def simulate(
    schedule: ScheduleConfig,
    *,
    step_s: float,
    validation_s: float,
    save_s: float,
    hours: float = 2.0,
    write_s: float = 0.0,
) -> tuple[PeriodicEvents, dict[str, list[float]]]:
    """A run of so many hours that looks at each tenth step; the times at which events ended."""
    clock = Clock()
    events = PeriodicEvents(Config(schedule=schedule), 0, clock)
    times: dict[str, list[float]] = {"log": [], "validate": [], "save": []}
    step = 0
    while clock.s < hours * 3600:
        step += 10
        clock.s += 10 * step_s
        events.take(events.due_by_clock(step, write_s))
        validating = events.is_due("validate", step)
        for event, took_s, due in (
            ("log", 0.0, events.is_due("log", step)),
            ("validate", validation_s, validating),
            ("save", save_s, validating or events.is_due("save", step)),
        ):
            if due:
                with events.happens(event, step):
                    clock.s += took_s
                times[event].append(clock.s)
    return events, times


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]


@pytest.mark.parametrize("step_s", [0.2, 0.5])
@pytest.mark.parametrize(("validation_s", "save_s"), [(0.5, 0.02), (8, 0.1), (25, 2), (100, 1)])
def test_auto_keeps_training_at_95_percent_and_saves_every_ten_minutes(
    step_s, validation_s, save_s
):
    events, times = simulate(
        ScheduleConfig(), step_s=step_s, validation_s=validation_s, save_s=save_s
    )

    # A save alone is not put off, but the next validation is.
    assert 100 - events.training_percent <= 100 * (MAX_SHARE + save_s / events.clock()) + 1e-6
    assert max(gaps(times["save"])) <= 600 + validation_s + save_s + 10 * step_s
    assert min(gaps(times["validate"])) >= 120
    if validation_s + save_s < 30:
        assert max(gaps(times["validate"])) <= 600 + validation_s + save_s + 10 * step_s
    assert min(gaps(times["log"])) >= 10
    assert f"{events.training_percent:.1f} %" in str(events)


def test_log_lines_are_means_of_at_least_fifty_steps():
    _, times = simulate(ScheduleConfig(), step_s=1.0, validation_s=0, save_s=0, hours=0.1)

    assert min(gaps(times["log"])) >= 50


def test_a_checkpoint_is_committed_within_its_interval():
    schedule = ScheduleConfig(save_every="5 minutes", validate_every="never")

    _, times = simulate(schedule, step_s=0.1, validation_s=0, save_s=0, write_s=40.0)

    assert max(gaps(times["save"])) + 40 <= 300 + 1 + 1


def test_fixed_times_are_kept():
    schedule = ScheduleConfig(log_every="1 minute", validate_every="1 hour", save_every="never")

    _, times = simulate(schedule, step_s=0.1, validation_s=1, save_s=1)

    assert len(times["log"]) in (118, 119, 120)
    assert len(times["validate"]) == len(times["save"]) == 1


def test_pairs_and_steps_are_kept_whatever_the_clock_says():
    schedule = ScheduleConfig(log_every="3 steps", validate_every="16 pairs", save_every="never")
    config = Config(schedule=schedule, batch=BatchConfig(shards=2, shard_size=2))
    events = PeriodicEvents(config, 0, Clock())

    assert events.due_by_clock(10**6, 0.0) == [0.0] * 3
    assert [step for step in range(1, 13) if events.is_due("log", step)] == [3, 6, 9, 12]
    assert [step for step in range(1, 13) if events.is_due("validate", step)] == [4, 8, 12]


def test_a_deterministic_run_has_steps_for_auto():
    base = Config()
    config = replace(base, train=replace(base.train, deterministic=True))
    clock = Clock()
    events = PeriodicEvents(config, 0, clock)
    clock.s = 1e9

    assert events.due_by_clock(10**6, 0.0) == [0.0] * 3
    assert [step for step in (50, 999, 1000) if events.is_due("save", step)] == [1000]
    assert events.is_due("log", 50)


def test_workers_take_what_the_clock_of_worker_0_says_and_forget_it_when_it_happened():
    events = PeriodicEvents(Config(), 0, Clock())
    assert not events.is_due("validate", 7)

    events.take([0.0, 1.0, 0.0])
    events.take([0.0, 0.0, 0.0])  # until it has happened, it stays due
    assert events.is_due("validate", 8)
    assert not events.is_due("save", 8)
    with events.happens("validate", 8):
        pass

    assert not events.is_due("validate", 9)
