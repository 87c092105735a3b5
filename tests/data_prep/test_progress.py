"""Times as people say them."""

import pytest

from data_prep.progress import duration, progress


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
