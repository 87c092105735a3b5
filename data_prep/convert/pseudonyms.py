"""Keyed pseudonyms for subjects and volumes, so that nothing identifying a patient is stored.

A pseudonym is an HMAC-SHA256 (RFC 2104) under a key kept outside the store, cut to 16 hexadecimal
characters: the holder of the key can recompute it, and nobody else can test a guess.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mrct.errors import UsageError
from mrct.storage.atomic import write_new

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
    """Read the key file, or create it (mode 0600) if it does not exist.

    Of several processes that create it at once, all get the key of the first.
    """
    if not path.exists():
        with suppress(FileExistsError):
            write_new(path, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600)
    secret = path.read_bytes().strip()
    if len(secret) < _KEY_BYTES:
        raise UsageError(
            f"The key file {path} has {len(secret)} bytes, and a key has at least {_KEY_BYTES}: "
            "pseudonyms made with a short key can be guessed. Give the correct --key-file, or "
            "remove this one and convert into a new store."
        )
    return Key(secret=secret)


def existing_key(given: Path | None, usual: Path) -> Key | None:
    """Return the key in the given file, or in the usual one if there is one; create none."""
    if given and not given.exists():
        raise UsageError(f"There is no key file {given}. Give the --key-file of the store.")
    return open_key(given or usual) if given or usual.exists() else None


def find_subject(named: str, known: Collection[str], key: Key | None) -> str:
    """Return the pseudonym of a subject, given by it or, with the key, by its own name.

    Raises UsageError if `named` is none or several of the `known` subjects; it is not repeated,
    since it may be a patient's name.
    """
    if named in known:
        return named
    # As `convert` makes them: of a manifest or a pair, of one side, of a PatientID without issuer.
    identities = [named, f"mri {named}", f"ct {named}", f"{named}\0"] if key else []
    matches = [p for each in identities if key and (p := key.pseudonym("subject", each)) in known]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            f"The name given with --subject belongs to {len(matches)} subjects: "
            f"{' and '.join(matches)}. Equal names below --mri and --ct were taken for different "
            "people. Give --subject one of these pseudonyms at a time."
        )
    where = "" if key else ", and there is no key to compute it from a name (--key-file)"
    raise UsageError(
        f"The store has and had no subject of this pseudonym or name{where}. Look its pseudonym up "
        "in the id map of the conversion (column `subject`), or make one with the same convert and "
        "--id-map FILE."
    )
