"""P7: the conversion continues, and the quarantine is exact: it lists what was planted,
and nothing else changes by a byte.

42 series here, one of each fault among them; 1,000 by `make faults`, 5 % of them bad.
"""

import pytest

from tests.faults.planted import convert_with_planted


@pytest.mark.slow
def test_the_quarantine_lists_what_was_planted_and_the_rest_is_the_same_to_the_byte(tmp_path):
    convert_with_planted(tmp_path, range(42), bad_every=6)
