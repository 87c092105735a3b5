"""P1 and P2: a deterministic run, killed anywhere and restarted on any number of workers, ends with
the bits of an unbroken one, and sees the same samples in the same order. Every score is there at
the end, whether it was computed at once or beside the training.

One run of each here, hundreds of kills by `make faults`.
"""

from typing import Literal

import pytest

from tests.faults.train_kills import kills_of_runs


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["inline", "beside"])
def test_a_run_killed_anywhere_ends_with_the_bits_and_samples_of_an_unbroken_one(
    tmp_path, scoring: Literal["inline", "beside"]
):
    with kills_of_runs(tmp_path, scoring) as inject:
        inject(0)
