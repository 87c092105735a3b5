"""The command line of `python -m cluster`."""

import pytest

from cluster.__main__ import main
from mrct.errors import UsageError


def test_a_command_without_two_hyphens_is_printed_with_them():
    with pytest.raises(UsageError) as refused:
        main(["submit", "--target", "ray", "python", "-m", "cyclegan.train", "smoke"])

    advised = str(refused.value).splitlines()[-1]
    assert advised == ("  python -m cluster submit --target ray -- python -m cyclegan.train smoke")
