"""Headers are read in the worker itself: no file makes it hang, grow without bound, or give up."""

import os
import struct
import time
import zlib
from pathlib import Path

import psutil
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from data_prep.dicom.files import read_headers
from data_prep.dicom.reader import read_series
from data_prep.dicom.series import find_series
from mrct.errors import VolumeError
from tests.support.series import slice_dataset, write_series

ITEM = b"\xfe\xff\x00\xe0" + struct.pack("<L", 0)
UNDEFINED = 0xFFFFFFFF
MOST_GROWTH_BYTES = 400 << 20
MOST_S = 60.0


def frames_tag(length: int) -> bytes:
    """The head of PerFrameFunctionalGroupsSequence, whose items become objects."""
    return struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, length)


def with_tail(path: Path, tail: bytes) -> Path:
    """A slice without pixels whose last tags are these bytes."""
    dataset = slice_dataset("CT", 0)
    del dataset.PixelData
    dataset.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(tail)
    return path


def deflated(path: Path, tail: bytes, times: int) -> Path:
    """The same with its data set deflated, the bytes many times over."""
    plain = with_tail(path, b"").read_bytes()
    start = 144 + struct.unpack("<L", plain[140:144])[0]  # behind preamble and group 2
    dataset = slice_dataset("CT", 0)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    meta = path.read_bytes()
    meta = meta[: 144 + struct.unpack("<L", meta[140:144])[0]]
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [pack.compress(plain[start:]), *(pack.compress(tail) for _ in range(times))]
    path.write_bytes(meta + b"".join(parts) + pack.flush())
    return path


HOSTILE = {
    "a hundred million bytes of empty items": lambda path: with_tail(
        path, frames_tag(UNDEFINED) + ITEM * 12_500_000
    ),
    "a million items of a known length": lambda path: with_tail(
        path, frames_tag(8_000_000) + ITEM * 1_000_000
    ),
    "a value of a gigabyte": lambda path: sparse(with_tail(path, frames_tag(1 << 30)), 1 << 30),
    "sequences in sequences": lambda path: with_tail(
        path, (frames_tag(UNDEFINED) + ITEM[:4] + b"\xff" * 4) * 100_000
    ),
    "a deflate bomb": lambda path: deflated(path, bytes(1 << 20), 300),
    "deflated items": lambda path: deflated(path, ITEM * (1 << 17), 20),
}


def sparse(path: Path, more: int) -> Path:
    """The file with zeros behind that take no disk."""
    os.truncate(path, path.stat().st_size + more)
    return path


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_header_costs_little_and_is_refused(tmp_path, attack):
    path = HOSTILE[attack](tmp_path / "a.dcm")
    process, started = psutil.Process(), time.monotonic()
    before = process.memory_info().rss

    with pytest.raises(VolumeError) as caught:
        read_headers(path)

    assert caught.value.code in ("too-large", "header-damaged")
    assert time.monotonic() - started < MOST_S
    assert process.memory_info().rss - before < MOST_GROWTH_BYTES


def test_pipes_loops_and_sockets_in_a_folder_hold_nobody_up(tmp_path):
    folder = write_series(tmp_path / "series")
    os.mkfifo(folder / "pipe.dcm")
    (folder / "loop.dcm").symlink_to("loop.dcm")
    (folder / "inside").symlink_to(folder)

    (series,) = find_series(tmp_path)

    assert {path.name for path in series.damaged} == {"pipe.dcm", "loop.dcm"}
    assert series.error is not None
    assert series.error.code == "file-damaged"


def test_a_slice_replaced_after_the_search_is_refused(tmp_path):
    folder = write_series(tmp_path)
    (series,) = find_series(folder)
    os.utime(folder / "003.dcm", ns=(1, 1))

    with pytest.raises(VolumeError) as caught:
        read_series(series, pseudonym="p")
    assert caught.value.code == "file-changed"


def test_files_of_other_formats_are_left_to_their_readers(tmp_path):
    for name in ("a.nii.gz", "b.mha", "c.NRRD"):
        (tmp_path / name).write_bytes(b"\x08\0\x05\0CS")

    assert find_series(tmp_path) == []
