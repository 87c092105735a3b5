"""How long a search may take, as people write it."""

import re

from mrct.errors import UsageError


def seconds(text: str) -> float:
    """Parse a duration such as 8h, 30m or 90s into seconds.

    Raises:
        UsageError: The text is not a duration.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not float(found[1]):
        raise UsageError(f"--time-budget is {text!r}; give a time such as 8h, 30m or 90s.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
