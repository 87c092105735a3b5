"""Times as people say them."""

import sys

import pytest

from mrct import progress as progress_module
from mrct.progress import QUIET_VARIABLE, duration, progress, say_state


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7265, "2 h 1 min"),
        (190_800, "2 d 5 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, said):
    assert duration(seconds) == said


def test_a_job_log_has_a_line_with_what_is_done_and_what_is_left(capsys):
    with progress("train", total=6, done=2, line_every_s=0) as advance:
        advance(2, "loss 1.00  8.0 slices/s")
        advance(2)

    first, last = capsys.readouterr().err.splitlines()
    assert first == "train: 4 of 6, about 0 s left  loss 1.00  8.0 slices/s"
    assert last == "train: 6 of 6, about 0 s left"


def test_the_time_left_follows_the_last_minute(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    with progress("train", total=1000, line_every_s=0) as advance:
        now = 300.0  # compiling
        advance(1)
        for _ in range(9):
            now += 10.0
            advance(10)

    told = capsys.readouterr().err.splitlines()
    assert "about 3 d" in told[0]
    assert told[-1] == "train: 91 of 1000, about 15 min 9 s left"


def test_a_bar_names_its_clocks_and_shows_a_note_before_the_first_item(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("train", total=4) as advance:
        advance(0, "waiting for the first steps")

    told = capsys.readouterr().err
    assert "elapsed" in told
    assert "left" in told
    assert "waiting for the first steps" in told


def test_a_state_is_said_unless_quiet(capsys, monkeypatch):
    say_state("Starting Ray on this machine")
    assert capsys.readouterr().err == "Starting Ray on this machine\n"

    monkeypatch.setenv(QUIET_VARIABLE, "1")
    say_state("Starting Ray on this machine")
    assert capsys.readouterr().err == ""
