"""Finds the character set of DICOM text that its header names wrongly.

Exports often write UTF-8 under the name of another set, or Latin-1 under the name of UTF-8. Decoded
as named, the text is garbled; where bytes are replaced, two identifiers may even become one.
"""

from collections.abc import Sequence

UTF_8, LATIN_1 = "ISO_IR 192", "ISO_IR 100"
_ESCAPE = b"\x1b"
"""Begins every switch to another set (ISO 2022)."""


def true_character_set(named: Sequence[str], text: bytes) -> str | None:
    """Return the defined term (PS3.3 C.12.1.1.2) of the set of `text`; None if `named` may hold.

    Text of the Chinese sets is often valid UTF-8 by chance, so they are believed.
    """
    if text.isascii() or _ESCAPE in text or any(name.startswith("GB") for name in named):
        return None
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        wrong = any(name == UTF_8 or name.startswith("ISO 2022") for name in named)
        return LATIN_1 if wrong else None
    return None if UTF_8 in named else UTF_8
