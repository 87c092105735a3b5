"""A contrast table as a model folder: all that `translate` needs to run it.

`model.json` has the kind `table`; the folder holds the table's file in place of a network's.
"""

from dataclasses import dataclass
from pathlib import Path

from cyclegan.contrast.table_file import TABLE_FILE, KeptTable, read_table
from cyclegan.errors import ModelError, TableError
from cyclegan.export.metadata import (
    INFO,
    TableInfo,
    described,
    info_of,
    other_version,
    write_info,
)
from cyclegan.export.model_card import CardPicture, table_card
from cyclegan.export.model_folder import CARD, PICTURE, content_of, verify_model
from data_prep.store.subject_record import SUBJECTS_FILE, SubjectRecord, subjects_content
from mrct.storage.local_path import LocalPath


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableModel:
    """A verified model folder of a contrast table."""

    info: TableInfo
    kept: KeptTable


def write_table_model(
    folder: Path,
    info: TableInfo,
    table: bytes,
    subjects: SubjectRecord,
    picture: CardPicture | None = None,
) -> None:
    """Write the files of a table's model folder but SHA256SUMS; see `publish_folder`."""
    (folder / TABLE_FILE).write_bytes(table)
    (folder / SUBJECTS_FILE).write_bytes(subjects_content(subjects))
    write_info(info, folder)
    if picture:
        (folder / PICTURE).write_bytes(picture.content)
    (folder / CARD).write_text(table_card(info, picture))


def is_table_model(folder: Path) -> bool:
    """Return whether a model folder is that of a contrast table."""
    return TABLE_FILE in content_of(folder)


def read_table_model(folder: Path) -> TableModel:
    """Verify every byte of the model folder of a table, and read it.

    Raises:
        ModelError: A file is damaged or missing, or of an unknown version.
    """
    verify_model(folder)
    values = described(folder, (folder / INFO).read_bytes())
    info = info_of(TableInfo, values, folder)
    try:
        kept = read_table(LocalPath(folder / TABLE_FILE))
    except TableError as error:
        raise ModelError(f"{error} Then export it again.") from error
    assert kept is not None
    found, known = (
        (kept.sha256, kept.store_fingerprint, kept.table.spacing_yx_mm),
        (info.contrast_table, info.store_fingerprint, tuple(info.preprocessing.spacing_mm[1:])),
    )
    if found != known:
        raise other_version(folder, f"a table {found}", f"{known}")
    return TableModel(info=info, kept=kept)
