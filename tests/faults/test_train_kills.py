"""P1 and P2: a deterministic run, killed anywhere and restarted on any number of workers, ends with
the bits of an unbroken one, and sees the same samples in the same order. Every score is there at
the end, whether it was computed at once or beside the training.

One run that scores beside the training here, hundreds of kills of both kinds by `make faults`.
"""

import pytest

from tests.faults.train_kills import kills_of_runs


@pytest.mark.slow
def test_a_run_killed_anywhere_ends_with_the_bits_and_samples_of_an_unbroken_one(tmp_path):
    with kills_of_runs(tmp_path, "beside") as inject:
        inject(0)
