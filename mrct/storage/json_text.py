"""JSON from files that may be damaged or crafted."""

import json
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text is no JSON, or is nested too deeply, which `json` reports by an error
            that is no ValueError.

    Examples:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
