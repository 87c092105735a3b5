"""P3, the checkpoint half: no kill at any moment leaves a checkpoint that is not whole, or a score
that is not: at most the newest checkpoint waits for one.

Three kills here, hundreds by `make faults`.
"""

import pytest

from tests.faults.checkpoint_kills import kills_of_saves


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_only_whole_checkpoints(tmp_path):
    with kills_of_saves(tmp_path) as inject:
        for number in range(3):
            inject(number)

    assert list(tmp_path.glob("killed/checkpoints/step_*"))
