"""P10: a run that meets numbers that are not finite heals, or stops clean; at most one interval is
lost, whether scores are computed at once or beside the training.

Three injections of each here, 50 by `make faults`.
"""

from typing import Literal

import pytest

from tests.faults.divergence import poisoned_runs


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["inline", "beside"])
def test_an_injection_ends_in_finite_weights_or_a_clean_stop(
    tmp_path, scoring: Literal["inline", "beside"]
):
    with poisoned_runs(tmp_path, scoring) as inject:
        for number in range(3):
            inject(number)
