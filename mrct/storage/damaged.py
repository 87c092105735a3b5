"""Damaged files that a command can do without: they are named, kept aside, and written again."""

import sys

from mrct.storage.paths import StoragePath

DAMAGED = ".damaged"
"""End of the name of what was a damaged file."""


def set_aside(path: StoragePath, content: bytes, lost: str) -> None:
    """Keep the content of a damaged file beside its place, and print a warning.

    Args:
        path: The file, which the caller then replaces.
        content: Its content.
        lost: What cannot be read, and what that means, as a clause.
    """
    kept = path.with_name(path.name + DAMAGED)
    kept.put(content)
    print(
        f"warning: {path} is damaged: {lost}. It was kept as {kept.name}, and is continued without "
        "that.",
        file=sys.stderr,
    )
