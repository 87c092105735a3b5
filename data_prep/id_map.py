"""Which pseudonym is whom: a private file outside the store, for those who may know.

Next to the quarantine file the only thing that ties the store to people. It opens no volume.
"""

import csv
import io
import os
from collections.abc import Collection
from pathlib import Path

from data_prep.atomic import write_atomic
from data_prep.errors import UsageError
from data_prep.source import Source

COLUMNS = ("volume", "subject", "original_subject", "path")


def write_id_map(path: Path, sources: Collection[Source]) -> None:
    """Write or extend the map, atomically and for its owner only (mode 0600).

    A row per volume: its name in the store, its subject's pseudonym, what the data set calls the
    subject, and the path. Rows of earlier conversions stay. Raises UsageError where something
    else lies there, which is not touched.
    """
    rows = _read(path)
    for source in sources:
        place = os.fspath(source.path)
        rows[source.name] = (source.name, source.subject, source.label, place)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows[name] for name in sorted(rows))
    try:
        write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"The id map cannot be written to {path}: {error.strerror}. Without it nobody could "
            "tell later whose a volume is. Give --id-map a file in a folder that can be written."
        ) from error


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8", "surrogateescape"))))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(
            f"The id map {path} cannot be read: {error.strerror}. Its rows of earlier conversions "
            "would be lost. Give another --id-map."
        ) from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise UsageError(
            f"{path} is there and is no id map: its first line is not {','.join(COLUMNS)}. It "
            "would be overwritten. Give another --id-map."
        )
    return {line[0]: tuple(line) for line in lines[1:]}
