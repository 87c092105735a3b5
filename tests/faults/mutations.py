"""What storage, transfer and malice do to a file's bytes, drawn from a seed."""

import random
import struct

INTERESTING = [0, 1, -1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000]
FLOATS = [0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45]
FRONT = 1000
"""Bytes that hold most of a header, where a change goes deepest."""


def flipped(content: bytearray, draw: random.Random) -> None:
    """Single bits, anywhere."""
    for _ in range(draw.choice([1, 2, 10, 100])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def scrambled_front(content: bytearray, draw: random.Random) -> None:
    """Bytes of the header, at random."""
    for _ in range(draw.choice([1, 3, 20])):
        content[draw.randrange(min(FRONT, len(content)))] = draw.randrange(256)


def overwritten(content: bytearray, draw: random.Random) -> None:
    """A number in the header, with one that code stumbles over."""
    order = draw.choice("<>")
    number = draw.choice(INTERESTING) & 0xFFFFFFFF
    field = draw.choice(
        [
            struct.pack(f"{order}H", number & 0xFFFF),
            struct.pack(f"{order}I", number),
            struct.pack(f"{order}Q", number * draw.choice([1, 1 << 20, 1 << 32]) % (1 << 64)),
            struct.pack(f"{order}f", draw.choice(FLOATS)),
            str(draw.choice([number, -number, number * 10**9, "nan", "1e999"])).encode(),
        ]
    )
    start = draw.randrange(min(FRONT, len(content)))
    content[start : start + len(field)] = field


def cut(content: bytearray, draw: random.Random) -> None:
    """The end is lost."""
    del content[draw.randrange(len(content)) :]


def stuffed(content: bytearray, draw: random.Random) -> None:
    """Junk in between, or a piece of the file a second time."""
    start = draw.randrange(len(content))
    length = draw.choice([1, 2, 7, 64, 1000])
    content[start:start] = draw.choice([draw.randbytes(length), content[:length]])


def thinned(content: bytearray, draw: random.Random) -> None:
    """A piece is lost in between."""
    start = draw.randrange(len(content))
    del content[start : start + draw.choice([1, 2, 7, 64, 512])]


MUTATIONS = [flipped, scrambled_front, overwritten, cut, stuffed, thinned]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """One or two things happened to the file."""
    changed = bytearray(content)
    for mutation in draw.choices(MUTATIONS, k=draw.choice([1, 1, 2])):
        if changed:
            mutation(changed, draw)
    return bytes(changed)
