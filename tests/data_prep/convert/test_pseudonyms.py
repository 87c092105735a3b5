"""Pseudonyms are RFC 2104's HMAC under a private key, and say nothing."""

import stat

import pytest

from data_prep.convert.pseudonyms import Key, open_key
from mrct.errors import UsageError


def test_a_pseudonym_is_a_cut_hmac_sha256():
    # By `printf "a\\0b" | openssl dgst -sha256 -hmac Jefe`.
    assert Key(secret=b"Jefe").pseudonym("a", "b") == "abe96d286949754c"


def test_the_key_file_is_private_and_made_once(tmp_path):
    path = tmp_path / "s.key"
    first = open_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key(path) == first
    assert open_key(tmp_path / "other.key") != first
    assert "secret" not in repr(first)


def test_kind_and_identity_and_key_all_matter():
    key, other = Key(secret=b"k" * 32), Key(secret=b"o" * 32)
    names = {key.pseudonym("mri", "1"), key.pseudonym("ct", "1"), key.pseudonym("mri", "2")}
    assert len(names | {other.pseudonym("mri", "1")}) == 4


def test_a_short_key_is_refused(tmp_path):
    (tmp_path / "s.key").write_text("secret\n")
    with pytest.raises(UsageError, match="guessed"):
        open_key(tmp_path / "s.key")
