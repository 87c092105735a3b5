"""What every command does alike: its shared flags, its exit codes, and how it tells an error."""

import errno
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrct.cli import colour_by_choice, parse, print_json, run_command
from mrct.errors import ExitCode, UsageError
from mrct.progress import QUIET_VARIABLE, progress
from mrct.storage.paths import StoragePath, storage_path

ROOT = Path(__file__).resolve().parents[2]


def ended(main, argv=()) -> int:
    """Run a command's body here, and return its exit code."""
    with pytest.raises(SystemExit) as end:
        run_command(main, list(argv))
    return end.value.code or 0


def test_the_version_is_that_of_the_installed_package(capsys):
    assert ended(lambda argv: ExitCode.FAILED, ["convert", "--version"]) == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("cyclegan-mri-ct")


def test_a_command_gets_all_but_the_shared_flags_and_what_another_command_gets(monkeypatch):
    monkeypatch.setenv(QUIET_VARIABLE, "")  # so that it is put back
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    argv = ["run", "--quiet", "--a.b", "-1", "--log-level", "info", "--", "x", "--version"]
    got = []

    assert ended(lambda argv: got.extend(argv) or ExitCode.DONE, argv) == 0

    assert got == ["run", "--a.b", "-1", "--", "x", "--version"]


def test_quiet_shows_no_progress(monkeypatch, capsys):
    def work(argv):
        with progress("work", total=1) as advance:
            advance()
        return ExitCode.DONE

    monkeypatch.setenv(QUIET_VARIABLE, "")
    ended(work)
    assert "work: 1 of 1" in capsys.readouterr().err

    ended(work, ["--quiet"])
    assert capsys.readouterr().err == ""


def test_libraries_log_from_the_level_on_that_is_asked_for():
    code = (
        "import logging; from mrct.errors import ExitCode; from mrct.cli import run_command\n"
        "run_command(lambda argv: logging.getLogger('ray').info('hello') or ExitCode.DONE)"
    )
    told = [
        subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True).stderr
        for flags in ([], ["--log-level", "info"])
    ]
    assert [b"hello" in each for each in told] == [False, True]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("give --out"), 2, "error: give --out"),
        (OSError(errno.ENOSPC, "No space left on device"), 4, "storage is full"),
        (KeyboardInterrupt(), 1, "Run the same command again"),
    ],
)
def test_an_error_is_told_without_a_traceback(error, code, words, capsys):
    def fail(argv):
        raise error

    assert ended(fail) == code
    assert words in capsys.readouterr().err


@dataclass
class Command:
    """Do something."""

    store: StoragePath
    """Where."""
    other: StoragePath | None = None


def test_a_flag_may_be_a_folder_or_a_url():
    flags = ["--store", "a.zarr", "--other", "memory://bucket/b.zarr"]
    command = parse(Command, flags, prog="x")
    assert command == Command(
        store=storage_path("a.zarr"), other=storage_path("memory://bucket/b.zarr")
    )
    assert parse(Command, flags[:2], prog="x").other is None


def test_a_terminal_that_is_not_named_is_not_named_afterwards(monkeypatch):
    monkeypatch.delenv("TERM", raising=False)

    with colour_by_choice():
        pass

    assert "TERM" not in os.environ


def test_errors_have_colour_on_a_terminal_unless_it_is_declined(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    def error(no_color: str) -> str:
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with pytest.raises(SystemExit, match="2"):
            parse(Command, ["--stroe", "a.zarr"], prog="x")
        return capsys.readouterr().err

    assert "\x1b[" in error("")
    assert "\x1b[" not in error("1")
    assert os.environ["TERM"] == "xterm"


def test_json_has_no_numbers_that_json_does_not_know(capsys):
    print_json({"a": [1, 0.5, None]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 0.5, None]}

    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"a": float("nan")})


def test_help_shows_the_shared_flags_and_one_usage(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse(Command, ["--help"], prog="python -m x")
    printed = capsys.readouterr().out
    assert printed.count("usage:") == 1
    assert "--version" in printed
    assert "PATH|URL" in printed


def a_path_below_a_file(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "file/jane_doe").read_bytes()


def a_folder_as_a_file(folder: Path) -> None:
    (folder / "jane_doe").mkdir()
    (folder / "jane_doe").write_bytes(b"")


def a_long_name(folder: Path) -> None:
    (folder / ("jane_doe" * 40)).touch()


def a_path_of_another_user(folder: Path) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(folder / "jane_doe"))


@pytest.mark.parametrize(
    "access", [a_path_below_a_file, a_folder_as_a_file, a_long_name, a_path_of_another_user]
)
def test_a_path_that_the_system_refuses_is_told_without_a_traceback(tmp_path, capsys, access):
    assert ended(lambda argv: access(tmp_path)) == ExitCode.FAILED

    told = capsys.readouterr().err
    assert told.startswith("error: A file or folder cannot be used: ")
    assert "jane_doe" not in told, "a job log must not hold paths"


def test_an_error_fills_the_lines_of_a_terminal_and_leaves_its_commands(capsys, monkeypatch):
    command = "  python -m data_prep convert " + "--mri MRI " * 9

    def main(argv):
        raise UsageError(f"{'words ' * 30}\n{command}")

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ended(main)

    *text, advised = capsys.readouterr().err.rstrip("\n").split("\n")
    assert advised == command
    assert max(map(len, text)) <= 80
    assert len(text) == 3


def test_a_terminal_does_not_obey_what_an_error_quotes(capsys):
    def main(argv):
        raise UsageError("first line\nfound scan\x1b[2J\x9b1m\u202e\r.nii")

    assert ended(main) == ExitCode.WRONG_USE
    assert capsys.readouterr().err == (
        "error: first line\nfound scan\\x1b[2J\\x9b1m\\u202e\\r.nii\n"
    )
