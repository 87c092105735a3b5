"""The header of a safetensors file: dtype, shape and place of each array, and facts as text."""

from collections.abc import Callable
from typing import Any

from mrct.storage.json_text import parse_json

_MAX_HEADER_BYTES = 1 << 20
_LENGTH_BYTES = 8


def read_header(read: Callable[[int, int], bytes]) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays begin.

    Args:
        read: Function of (start, stop) that returns these bytes of the file, `stop` excluded.

    Raises:
        ValueError: The header is no JSON object, or is longer than a mebibyte.
    """
    length = int.from_bytes(read(0, _LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + min(length, _MAX_HEADER_BYTES)
    header = parse_json(read(_LENGTH_BYTES, start))
    if not isinstance(header, dict):
        raise ValueError("it is no JSON object")
    return header, start


def header_of(content: bytes) -> dict[str, Any]:
    """Return the header in the content of a file.

    Raises:
        ValueError: As `read_header`.

    Examples:
        >>> header_of(b'\\x0f\\0\\0\\0\\0\\0\\0\\0{"a": {"b": 1}}')
        {'a': {'b': 1}}
    """
    return read_header(lambda start, stop: content[start:stop])[0]
