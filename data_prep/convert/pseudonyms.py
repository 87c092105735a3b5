"""Keyed names for subjects and volumes, so that nothing a patient could be found by is stored.

HMAC-SHA256 (RFC 2104) under a key that lies outside the store, cut to 16 hexadecimal characters:
whoever holds the key can repeat the naming, nobody else can test a guess.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from mrct.errors import UsageError
from mrct.storage.atomic import write_atomic

_KEY_BYTES = 32
_NAME_LENGTH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """The secret that names are made with."""

    secret: bytes = field(repr=False)

    @property
    def check(self) -> str:
        """Tells two keys apart without telling what they are."""
        return self.pseudonym("check", "key")

    def pseudonym(self, kind: str, identity: str) -> str:
        """The name of `identity` among things of one `kind`, such as "subject": 16 hex digits."""
        message = f"{kind}\0{identity}".encode("utf-8", "surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:_NAME_LENGTH]


def open_key(path: Path) -> Key:
    """Read the key file, or make it (mode 0600) where there is none yet."""
    if not path.exists():
        write_atomic(path, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600)
    secret = path.read_bytes().strip()
    if len(secret) < _KEY_BYTES:
        raise UsageError(
            f"The key file {path} holds {len(secret)} bytes, and a key has at least {_KEY_BYTES}: "
            "pseudonyms made with a short key can be guessed. Give the right --key-file, or "
            "remove this one and convert into a new store."
        )
    return Key(secret=secret)
