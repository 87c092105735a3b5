"""Text is read in the set that it is in, whatever set its header names."""

from pathlib import Path

import pytest

from data_prep.dicom.character_sets import true_character_set
from data_prep.dicom.files import read_headers, read_tags
from tests.support.series import slice_dataset


def written(path: Path, named: str | None, text: bytes) -> Path:
    """A slice whose PatientID are these bytes, under a character set that may be wrong."""
    dataset = slice_dataset("MR", 0)
    dataset.PatientID = "ID-OF-PATIENT!!!"
    if named:
        dataset.SpecificCharacterSet = named
    dataset.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"ID-OF-PATIENT!!!", text.ljust(16)))
    return path


@pytest.mark.parametrize(
    "named", [None, "ISO_IR 100", "ISO_IR 144", "ISO_IR 192", "ISO 2022 IR 100"]
)
def test_utf_8_is_read_under_any_name(tmp_path, named):
    path = written(tmp_path / "a.dcm", named, "Jürgen Ä".encode())

    assert read_headers(path)[0].identity == "Jürgen Ä\0"
    assert read_tags(path, ["PatientID", "SpecificCharacterSet"]).PatientID == "Jürgen Ä"


@pytest.mark.parametrize("named", [None, "ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 100"])
def test_latin_1_under_another_name_does_not_make_two_people_one(tmp_path, named):
    paths = [
        written(tmp_path / f"{n}.dcm", named, text.encode("latin-1"))
        for n, text in enumerate(("Ärt 1", "Ört 1"))
    ]

    assert [read_headers(path)[0].identity for path in paths] == ["Ärt 1\0", "Ört 1\0"]


@pytest.mark.parametrize(
    ("named", "text", "found"),
    [
        (["ISO_IR 192"], "Ä".encode(), None),
        (["ISO_IR 144"], "Жук".encode("iso8859-5"), None),
        (["GB18030"], "模型".encode("gb18030"), None),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], b"\x1b$)C\xb1\xe8", None),
        ([""], b"Doe^Jane", None),
        (["ISO_IR 166"], "Ä".encode(), "ISO_IR 192"),
        (["ISO_IR 192"], "Ä".encode("latin-1"), "ISO_IR 100"),
    ],
)
def test_a_set_is_replaced_only_where_it_cannot_be_meant(named, text, found):
    assert true_character_set(named, text) == found
