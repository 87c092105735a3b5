"""Which pseudonym or result is whom: a private file outside the store, for those who may know.

Next to the quarantine file the only thing that ties the store to people. It opens no volume.
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

    A row per volume: its name in the store, its subject's pseudonym, what the data set calls the
    subject, and the path.
    """
    rows = [
        (source.name, source.subject, source.label, os.fspath(source.path)) for source in sources
    ]
    extend_id_map(path, COLUMNS, rows)


def extend_id_map(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write or extend a map, atomically and for its owner only (mode 0600), sorted by its first
    column.

    Rows of earlier times stay, but for those whose first column comes again. Raises UsageError
    where something else lies there, which is not touched.
    """
    known = _read(path, columns) | {row[0]: row for row in rows}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(known[name] for name in sorted(known))
    try:
        write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"The id map cannot be written to {path}: {error.strerror}. Without it nobody could "
            "tell later whose a volume is. It needs a folder that is there and can be written to."
        ) from error


def _read(path: Path, columns: Sequence[str]) -> dict[str, Sequence[str]]:
    try:
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8", "surrogateescape"))))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(
            f"The id map {path} cannot be read: {error.strerror}. Its rows of earlier times "
            "would be lost. Move it away, or name another."
        ) from error
    if not lines or lines[0] != list(columns):
        raise UsageError(
            f"{path} is there and is no id map: its first line is not {','.join(columns)}. It "
            "would be overwritten. Move it away, or name another."
        )
    return {line[0]: line for line in lines[1:]}
