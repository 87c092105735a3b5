"""Help screens: one screen of the options that matter, and all of them on request."""

import importlib
import re
from dataclasses import fields

import pytest

from mrct.errors import ExitCode, UsageError
from tests.mrct.test_cli import ended

SCREEN = (40, 80)
"""Rows and columns."""
GROUPS = ("data_prep", "cyclegan", "tune", "cluster")


def commands_of(group: str) -> dict[str, type]:
    return getattr(importlib.import_module(f"{group}.__main__"), f"{group.upper()}_COMMANDS")


COMMANDS = {
    ((f"cyclegan.{name}",) if group == "cyclegan" else (group, name)): command
    for group in GROUPS
    for name, command in commands_of(group).items()
}


@pytest.fixture
def screen(capsys, monkeypatch):
    """Function that returns what a program prints on a terminal of the size of `SCREEN`."""
    monkeypatch.setenv("COLUMNS", str(SCREEN[1]))

    def printed(program: str, *words: str) -> str:
        main = importlib.import_module(f"{program}.__main__").main
        assert ended(main, words) == ExitCode.DONE
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize("words", [*COMMANDS, *((group,) for group in GROUPS)], ids="-".join)
def test_help_fits_on_a_screen(words, screen):
    lines = screen(*words, "--help").splitlines()

    assert len(lines) <= SCREEN[0]
    assert max(map(len, lines)) <= SCREEN[1]
    assert sum(line.startswith("usage:") for line in lines) == 1
    assert lines[0].startswith(f"usage: python -m {' '.join(words)}")


@pytest.mark.parametrize("words", COMMANDS, ids="-".join)
def test_all_options_are_shown_on_request(words, screen):
    command = COMMANDS[words]
    first, every = (
        set(re.findall(r"^  (?:-h, )?(--[\w.-]+)", screen(*words, flag), re.MULTILINE))
        for flag in ("--help", "--help-all")
    )
    shown = getattr(command, "HELP_OPTIONS", None)

    assert first <= every
    assert (first < every) == (shown is not None)
    if shown is not None:
        names = {field.name for field in fields(command)}
        assert set(shown) <= names
        hidden = {f"--{name.replace('_', '-')}" for name in names - set(shown)}
        assert not first & hidden


def test_the_help_of_a_command_shows_defaults_and_units(screen):
    printed = screen("data_prep", "convert", "--help-all")

    assert re.search(
        r"--spacing-mm Z Y X\s.*in mm.*\(default: 3\.0 1\.0 1\.0\)", printed, re.DOTALL
    )
    assert "STORE.quarantine.jsonl   refused inputs" in printed


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_says_where_to_start_and_names_its_commands(group, screen):
    printed = screen(group, "--help")

    assert re.search(r"^Start with [^:]*:\n\n  python -m ", printed, re.MULTILINE)
    for name in commands_of(group):
        assert re.search(rf"^  {name} +\w", printed, re.MULTILINE)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_shows_its_help_and_fails(group, capsys):
    main = importlib.import_module(f"{group}.__main__").main

    assert ended(main) == ExitCode.WRONG_USE
    assert "Start with" in capsys.readouterr().err


def test_for_a_mistyped_command_the_nearest_is_named():
    from data_prep.__main__ import main

    with pytest.raises(UsageError, match=r"'descibe'.*Did you mean 'describe'\?"):
        main(["descibe", "x.zarr"])


def test_a_command_of_the_package_is_called_with_a_dot():
    from cyclegan.__main__ import main

    with pytest.raises(UsageError, match=r"python -m cyclegan\.train smoke$"):
        main(["train", "smoke"])
