"""A user without name and home gets both, and others keep theirs."""

import getpass
import os
from pathlib import Path

import pytest

from mrct.user import NO_HOME, name_the_user


def test_a_user_whom_no_list_knows_gets_a_name_and_a_home(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    with pytest.raises(RuntimeError):
        Path.home()

    name_the_user()

    assert (getpass.getuser(), str(Path.home())) == ("uid_12345", NO_HOME)


def test_a_user_with_name_and_home_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("HOME", str(tmp_path))

    name_the_user()

    assert (getpass.getuser(), Path.home()) == ("somebody", tmp_path)
