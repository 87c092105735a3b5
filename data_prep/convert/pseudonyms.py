"""Keyed pseudonyms for subjects and volumes, so that nothing identifying a patient is stored.

A pseudonym is an HMAC-SHA256 (RFC 2104) under a key kept outside the store, cut to 16 hexadecimal
characters: the holder of the key can recompute it, and nobody else can test a guess.
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
    """The secret key of the pseudonyms."""

    secret: bytes = field(repr=False)

    @property
    def check(self) -> str:
        """A fingerprint that distinguishes keys without revealing them."""
        return self.pseudonym("check", "key")

    def pseudonym(self, kind: str, identity: str) -> str:
        """Return the pseudonym of `identity` within a `kind`, such as "subject": 16 hex digits."""
        message = f"{kind}\0{identity}".encode("utf-8", "surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:_NAME_LENGTH]


def open_key(path: Path) -> Key:
    """Read the key file, or create it (mode 0600) if it does not exist."""
    if not path.exists():
        write_atomic(path, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600)
    secret = path.read_bytes().strip()
    if len(secret) < _KEY_BYTES:
        raise UsageError(
            f"The key file {path} has {len(secret)} bytes, and a key has at least {_KEY_BYTES}: "
            "pseudonyms made with a short key can be guessed. Give the correct --key-file, or "
            "remove this one and convert into a new store."
        )
    return Key(secret=secret)
