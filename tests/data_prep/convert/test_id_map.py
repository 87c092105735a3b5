"""The id map leads from a pseudonym back to a person, for its owner alone."""

import csv
import stat
from pathlib import Path

import pytest

from data_prep.convert.id_map import COLUMNS, write_id_map
from data_prep.sources.source import Source
from mrct.errors import UsageError


def source(pseudonym: str, label: str, path: str) -> Source:
    return Source(
        path=Path(path),
        modality="mri",
        pseudonym=pseudonym,
        subject=f"s{pseudonym}",
        split=None,
        pair=None,
        label=label,
    )


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def test_it_names_subject_and_path_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "ids.csv"

    write_id_map(path, [source("b", 'Doe, "Jane"', "/x/b.nii"), source("a", "A", "/x/a.nii")])

    assert read(path) == [
        list(COLUMNS),
        ["mri/a", "sa", "A", "/x/a.nii"],
        ["mri/b", "sb", 'Doe, "Jane"', "/x/b.nii"],
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_of_earlier_conversions_stay(tmp_path):
    path = tmp_path / "ids.csv"
    write_id_map(path, [source("a", "A", "/old/a.nii"), source("b", "B", "/x/b.nii")])

    write_id_map(path, [source("a", "A", "/new/a.nii"), source("c", "C", "/x/c.nii")])

    assert [row[3] for row in read(path)[1:]] == ["/new/a.nii", "/x/b.nii", "/x/c.nii"]


def test_a_name_that_is_no_utf8_survives(tmp_path):
    path = tmp_path / "ids.csv"
    odd = b"/x/M\xfcller.nii".decode("utf-8", "surrogateescape")

    for _ in range(2):
        write_id_map(path, [source("a", "A", odd)])

    assert b"M\xfcller" in path.read_bytes()
    assert len(read(path)) == 2


def test_another_file_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("mine\n")

    with pytest.raises(UsageError, match="not an id map"):
        write_id_map(path, [source("a", "A", "/x/a.nii")])

    assert path.read_text() == "mine\n"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        write_id_map(tmp_path / "absent/ids.csv", [])


@pytest.mark.parametrize("label", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_no_name(tmp_path, label):
    path = tmp_path / "ids.csv"

    for _ in range(2):  # also where it reads its own rows again
        write_id_map(path, [source("a", label, "=x.nii")])

    assert read(path)[1:] == [["mri/a", "sa", f"'{label}", "'=x.nii"]]
