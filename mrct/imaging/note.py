"""Notes: what was put right or could not be checked in a volume, a sentence each, for its record.

They hold no patient text.
"""

from collections.abc import Callable

Note = Callable[[str], None]


def silent(text: str) -> None:
    """Drop a note."""
