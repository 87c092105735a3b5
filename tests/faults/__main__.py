"""Count how many injected faults are survived: python -m tests.faults

Each promise gets pieces of at most --minutes together, shared by its kinds of injections, and
continues where its last piece stopped; what is complete is left out. After each injection the
piece's row in benchmarks/results/faults.jsonl is replaced, so one that is interrupted loses at most
the injection it was at. At the end docs/reliability.md is written. Exit code 1 if a fault was not
survived.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.versions.side import machine
from mrct.errors import ExitCode
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject, Kind
from tests.faults.promises import KINDS, PROMISES
from tests.faults.reliability_page import write_page
from tests.faults.rows import Row, missing, read_rows, write_row

NOT_SURVIVED = (Exception, pytest.fail.Exception)
LONGEST_MESSAGE = 300
MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)
"""Nothing is synced there: that serves a loss of power, which nothing here injects."""


def main(argv: list[str]) -> ExitCode:
    """Run the pieces that are asked for."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.PREEMPTED))
    failed = False
    pieces = chosen(options)
    ahead = Counter(promise for kind in pieces for promise in kind.promises)
    left_s = dict.fromkeys(PROMISES, 60 * options.minutes)
    try:
        for kind, numbers in pieces.items():
            share_s = min(left_s[promise] / ahead[promise] for promise in kind.promises)
            started = time.monotonic()
            try:
                failed |= not run_piece(kind, numbers, share_s)
            except NOT_SURVIVED:  # of what its injections need
                traceback.print_exc()
                failed = True
            for promise in kind.promises:
                left_s[promise] -= time.monotonic() - started
                ahead[promise] -= 1
    finally:
        write_page()
    return ExitCode.FAILED if failed else ExitCode.DONE


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--promise", nargs="+", choices=PROMISES, help="of these alone")
    add("--minutes", type=float, default=30, help="for each promise (default: 30)")
    add("--number", nargs="+", type=int, help="these injections alone, also again")
    add("--since", default="", metavar="DATE", help="count again what was counted before DATE")
    return parser.parse_args(argv)


def chosen(options: argparse.Namespace) -> dict[Kind, list[int]]:
    """The injections that are asked for and, unless by number, not counted yet."""
    rows = read_rows()
    found = {
        kind: [
            number
            for number in options.number or missing(kind, rows, options.since)
            if number in kind.numbers
        ]
        for kind in KINDS
        if set(kind.promises) & set(options.promise or PROMISES)
    }
    return {kind: numbers for kind, numbers in found.items() if numbers}


def run_piece(kind: Kind, numbers: list[int], for_s: float) -> bool:
    """Inject until the time is over, with a row for it; returns whether all was survived."""
    if not numbers or for_s <= 0:
        return True
    print(f"{kind.name}: {len(numbers) * kind.each} to inject", flush=True)
    started, row, survived_all = time.monotonic(), None, True
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=MEMORY) as folder,
        kind.begin(LocalPath(folder)) as inject,
    ):
        for number in numbers:
            if row and time.monotonic() - started > for_s:
                break
            if row is None or number != row.numbers.stop:
                row = new_row(kind, number)
            began = time.monotonic()
            failure = failure_of(inject, number)
            row = row.grown(failure, time.monotonic() - began)
            write_row(row)
            survived_all &= not failure
    if row:
        print(f"{kind.name}: {row.survived} of {row.injected} survived, {row.seconds:.0f} s")
    return survived_all


def failure_of(inject: Inject, number: int) -> str:
    """Inject; return what was not survived, empty where all was."""
    try:
        inject(number)
    except NOT_SURVIVED as error:
        traceback.print_exc()
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = str(error).partition("\n")[0] or at.line
        return f"{type(error).__name__} in {at.name}: {message}"[:LONGEST_MESSAGE]
    return ""


def new_row(kind: Kind, number: int) -> Row:
    """A row without an injection yet."""
    return Row(
        promises=kind.promises,
        kind=kind.name,
        first=number,
        injected=0,
        survived=0,
        each=kind.each,
        seconds=0,
        machine=machine(),
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def commit() -> str:
    """The commit of the working copy."""
    words = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
