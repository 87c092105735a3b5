"""DICOM files in: what was stored comes out, and nothing quotes a patient."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

import data_prep.dicom.bounded_file
import data_prep.dicom.tags
from data_prep.dicom.files import looks_like_dicom, read_headers, read_stored
from mrct.errors import VolumeError
from tests.support.compression import COMPRESSED, compress
from tests.support.series import SHAPE, pixels_of, slice_dataset, write_enhanced

PIXELS = pixels_of(slice_dataset("CT", 2))


def saved(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def stored(path: Path) -> np.ndarray:
    return read_stored(read_headers(path)[0])[0]


def refusal(call, *args) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        call(*args)
    return caught.value


def as_implicit(dataset):
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def as_deflated(dataset):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def as_big_endian(dataset):
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.set_original_encoding(False, False)
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: None,
        as_implicit,
        as_deflated,
        as_big_endian,
        *(partial(compress, syntax=syntax) for syntax in COMPRESSED.values()),
    ],
    ids=["explicit", "implicit", "deflated", "big endian", *COMPRESSED],
)
def test_every_transfer_syntax_gives_the_same_header_and_pixels(tmp_path, change):
    dataset = slice_dataset("CT", 2)
    dataset.PixelPaddingValue = 63
    change(dataset)
    path = saved(tmp_path / "a", dataset)

    (header,) = read_headers(path)

    np.testing.assert_array_equal(read_stored(header), [PIXELS])
    assert header.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    assert header.position == (-8, 10, -84)
    assert header.pixel_mm == (0.9, 0.8)
    assert (header.slope, header.intercept) == (1, -1024)
    assert header.padding == (63, 63)
    assert (header.rows, header.columns) == SHAPE[1:]


def test_a_bare_data_set_without_preamble_is_read_like_any_other(tmp_path):
    dataset = slice_dataset("CT", 2)
    whole = saved(tmp_path / "a", dataset)
    content = whole.read_bytes()
    (tmp_path / "bare").write_bytes(content[content.index(b"\x08\0\x08\0CS") :])

    assert looks_like_dicom((tmp_path / "bare").read_bytes()[:132])
    np.testing.assert_array_equal(stored(tmp_path / "bare"), PIXELS)


def test_frames_of_an_enhanced_ct_have_headers_of_their_own(tmp_path):
    headers = read_headers(write_enhanced(tmp_path / "a.dcm"))

    assert [header.frame for header in headers] == list(range(8))
    assert [header.position[2] for header in headers] == [-81, -90, -69, -87, -75, -84, -72, -78]
    assert [header.slope for header in headers] == [4, 1, 8, 2, 6, 3, 7, 5]
    assert {header.pixel_mm for header in headers} == {(0.9, 0.8)}
    assert read_stored(headers[0]).shape == SHAPE


@pytest.mark.parametrize(
    ("value", "limit", "is_signed", "expected"),
    [
        (0, None, False, (0, 0)),
        (63536, None, True, (-2000, -2000)),
        (-2000, None, True, (-2000, -2000)),
        (-2000, None, False, (63536, 63536)),
        (-1500, -2000, True, (-2000, -1500)),
        (None, None, True, None),
    ],
)
def test_padding_is_understood_whatever_sign_it_was_written_with(value, limit, is_signed, expected):
    assert data_prep.dicom.tags.padding_range(value, limit, 16, is_signed) == expected


def test_a_header_shows_nothing_that_names_a_patient(tmp_path):
    (header,) = read_headers(saved(tmp_path / "CANARY.dcm", slice_dataset("CT", 2)))

    assert "CANARY" not in repr(header)
    assert "1901" not in repr(header)
    assert header.identity.startswith("CANARY-ID")


def test_an_error_quotes_nothing_of_the_file(tmp_path, capfd):
    dataset = slice_dataset("CT", 2)
    dataset.NumberOfFrames = 123456
    path = saved(tmp_path / "a.dcm", dataset)
    path.write_bytes(path.read_bytes().replace(b"123456", b"CANARY"))

    error = refusal(read_headers, path)

    assert error.code == "header-damaged"
    assert "CANARY" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("syntax", [None, *COMPRESSED.values()])
def test_a_file_that_was_cut_off_is_never_read_as_if_whole(tmp_path, kept, syntax):
    dataset = slice_dataset("CT", 2)
    if syntax:
        compress(dataset, syntax)
    path = saved(tmp_path / "a", dataset)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])

    assert refusal(stored, path).code in ("header-damaged", "pixels-unreadable")


def test_a_cut_off_file_of_the_wild_is_refused(shared):
    assert refusal(stored, shared / "odd/single_files/MR_truncated.dcm").code == "pixels-unreadable"


def test_an_unknown_transfer_syntax_is_named(tmp_path):
    dataset = slice_dataset("CT", 2)
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"

    error = refusal(stored, saved(tmp_path / "a", dataset))

    assert error.code == "transfer-syntax"
    assert "MPEG2 Main Profile / Main Level (1.2.840.10008.1.2.4.100)" in error.reason


def test_a_deflate_bomb_and_a_huge_matrix_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    dataset = slice_dataset("CT", 2)
    as_deflated(dataset)
    deflated = saved(tmp_path / "a", dataset)
    huge = slice_dataset("CT", 2)
    huge.Rows = huge.Columns = 65535

    assert refusal(stored, saved(tmp_path / "b", huge)).code == "too-large"
    monkeypatch.setattr(data_prep.dicom.bounded_file, "_MOST_INFLATED_BYTES", 1000)
    assert refusal(read_headers, deflated).code == "too-large"


def test_frames_without_places_of_their_own_are_not_taken_for_one_slice(shared):
    (header,) = read_headers(shared / "odd/single_files/emri_small.dcm")

    assert (header.frames, header.position) == (10, None)
    assert read_stored(header).shape == (10, 64, 64)


def test_a_vanished_file_is_unreadable(tmp_path):
    assert refusal(read_headers, tmp_path / "absent").code == "unreadable"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0" * 128 + b"DICM", True),
        (b"\x08\0\x05\0CS", True),
        (b"", False),
        (b"\0" * 132, False),
        (b"PK\x03\x04" + b"x" * 128, False),
        (b"\x1f\x8b" + b"x" * 130, False),
    ],
)
def test_dicom_is_known_by_its_content(head, expected):
    assert looks_like_dicom(head) is expected
