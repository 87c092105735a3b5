"""Writes the id map: a private file outside the store that links pseudonyms to subjects and paths.

Apart from the quarantine file it is the only link between the store and patients.
"""

import csv
import io
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from data_prep.sources.source import Source
from mrct.errors import UsageError
from mrct.storage.atomic import write_atomic

COLUMNS = ("volume", "subject", "original_subject", "path")


def write_id_map(path: Path, sources: Collection[Source]) -> None:
    """Write or extend the map of a store.

    Each row describes a volume: its name in the store, the pseudonym of its subject, the name of
    the subject in the data set, and the path.
    """
    rows = [
        (source.name, source.subject, source.label, os.fspath(source.path)) for source in sources
    ]
    extend_id_map(path, COLUMNS, rows)


def extend_id_map(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write or extend a map, atomically and for its owner only (mode 0600), sorted by its first
    column.

    Earlier rows stay, except those with the same first column as a new one. A name that a
    spreadsheet would compute begins with an apostrophe. Raises UsageError if another kind of file
    has this path; it is not touched.
    """
    new = [[_cell(each) for each in row] for row in rows]
    known = _read(path, columns) | {row[0]: row for row in new}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold "\r"
    table.writerow(columns)
    table.writerows(known[name] for name in sorted(known))
    try:
        write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"The id map cannot be written to {path}: {error.strerror}. Without it the subject of "
            "a volume could not be identified later. Give a path in an existing, writable folder."
        ) from error


def _read(path: Path, columns: Sequence[str]) -> dict[str, Sequence[str]]:
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(
            f"The id map {path} cannot be read: {error.strerror}. Its earlier rows would be lost. "
            "Move it away, or give another path."
        ) from error
    if not lines or lines[0] != list(columns):
        raise UsageError(
            f"{path} exists and is not an id map: its first line is not {','.join(columns)}. It "
            "would be overwritten. Move it away, or give another path."
        )
    return {line[0]: line for line in lines[1:] if line}


def _cell(text: str) -> str:
    """Return a name so that a spreadsheet takes it for text, never for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
