"""P10: a run that meets numbers that are not finite heals, or stops clean; at most one interval is
lost, whether scores are computed at once or beside the training.

Three and one here, 50 of each by `make faults`.
"""

from typing import Literal

import pytest

from tests.faults.divergence import poisoned_runs


@pytest.mark.slow
@pytest.mark.parametrize(("scoring", "injections"), [("inline", 3), ("beside", 1)])
def test_an_injection_ends_in_finite_weights_or_a_clean_stop(
    tmp_path, scoring: Literal["inline", "beside"], injections: int
):
    with poisoned_runs(tmp_path, scoring) as inject:
        for number in range(injections):
            inject(number)
