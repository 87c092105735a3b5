"""Streams are unpacked as zlib and gzip unpack them, and no damage gets through."""

import gzip
import random
import zlib

import pytest

from data_prep.readers.raw_voxels import inflate
from mrct.errors import VolumeError

CONTENT = random.Random(0).randbytes(3000) + bytes(5000)
PACKED = {"zlib": zlib.compress(CONTENT), "gzip": gzip.compress(CONTENT, mtime=0)}


@pytest.mark.parametrize("compression", PACKED)
def test_a_stream_gives_its_content_and_never_more_than_a_byte_too_much(compression):
    packed = PACKED[compression]

    assert inflate(packed, compression, most_bytes=len(CONTENT)) == CONTENT
    assert inflate(packed, compression, most_bytes=10**6) == CONTENT
    assert inflate(packed, compression, most_bytes=99) == CONTENT[:100]
    bomb = {"zlib": zlib.compress, "gzip": gzip.compress}[compression](bytes(10**7))
    assert len(inflate(bomb, compression, most_bytes=1000)) == 1001


def test_members_of_a_gzip_stream_follow_one_another():
    """As bgzip writes them."""
    packed = b"".join(gzip.compress(CONTENT[i : i + 1000]) for i in range(0, len(CONTENT), 1000))

    assert inflate(packed, "gzip", most_bytes=len(CONTENT)) == gzip.decompress(packed) == CONTENT
    assert inflate(packed, "gzip", most_bytes=4500) == CONTENT[:4501]


@pytest.mark.parametrize("compression", PACKED)
def test_a_stream_that_is_cut_or_followed_by_something_is_damaged(compression):
    packed = PACKED[compression]
    lengths = [0, 1, 5, 100, len(packed) - 8, len(packed) - 4, len(packed) - 1]

    for changed in [
        *(packed[:n] for n in lengths),
        packed + b"\0",
        packed + b"more",
        b"x" + packed,
    ]:
        with pytest.raises(VolumeError) as caught:
            inflate(changed, compression, most_bytes=len(CONTENT))
        assert caught.value.code == f"{compression}-damaged"


@pytest.mark.parametrize("compression", PACKED)
def test_a_flipped_bit_is_found_by_the_checksum(compression):
    packed, draw, num_found = PACKED[compression], random.Random(1), 0
    for _ in range(500):
        bad = bytearray(packed)
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        try:
            assert inflate(bytes(bad), compression, most_bytes=10**5) == CONTENT
        except VolumeError:
            num_found += 1
    assert num_found >= 490  # of a gzip header's time stamp and system nothing depends
