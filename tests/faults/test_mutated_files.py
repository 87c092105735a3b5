"""P12: hostile input cannot hurt. Each mutated file gives a volume or an error for people.

250 here, 20,000 by `make faults`.
"""

from collections import Counter

import pytest

from tests.faults.mutated_files import mutated_files


@pytest.mark.slow
def test_no_mutated_file_hurts_who_reads_it(tmp_path):
    with mutated_files(tmp_path) as inject:
        outcomes = Counter(inject(number) for number in range(250))

    assert 10 < outcomes["volume"] < 240, "they meet nothing that matters, or are noticed at once"
