"""Generates docs/reliability.md from the rows of `make faults`.

python -m tests.faults.reliability_page      regenerates the page
"""

from collections.abc import Iterator
from pathlib import Path

from tests.faults.injections import Kind
from tests.faults.promises import PROMISES, kinds_of
from tests.faults.rows import Row, count_of, read_rows

PAGE = Path(__file__).resolve().parents[2] / "docs/reliability.md"
HEAD = """\
# What was injected, and what was survived

`make faults` injects faults into real conversions, runs, searches and exports, and counts. It
continues where it stopped, so a row may grow over several days and machines; each injection has a
number, and the last result of a number counts. `benchmarks/results/faults.jsonl` holds every piece
with its commit, and what was not survived. A count that is not full says so: what is missing is not
known. `python -m tests.faults.reliability_page` generates this page, and a test fails if it differs
from the rows. [What is refused](refusals.md) lists faults of the input, one by one.

| | promise | injected | of | survived | machine | date |
|---|---|---|---|---|---|---|
"""


def lines(rows: list[Row]) -> Iterator[str]:
    """A line for each promise and each kind of injection that counts for it."""
    for promise, text in PROMISES.items():
        yield f"| {promise} | {text} | | | | | |"
        for kind in kinds_of(promise):
            yield line(kind, rows)


def line(kind: Kind, rows: list[Row]) -> str:
    """The line of one kind."""
    count = count_of(kind, rows)
    if not count.injected:
        return f"| | {kind.name} | not counted yet | {kind.full:,} | | | |"
    injected = (
        f"{count.injected:,}" if count.injected >= kind.full else f"{count.injected:,}, not full"
    )
    survived = f"{count.survived:,}"
    if lost := count.injected - count.survived:
        survived += f", {lost:,} **not**"
    machines = "; ".join(dict.fromkeys(each.rpartition(", load")[0] for each in count.machines))
    dates = " to ".join(dict.fromkeys([count.dates[0], count.dates[-1]]))
    return f"| | {kind.name} | {injected} | {kind.full:,} | {survived} | {machines} | {dates} |"


def page(rows: list[Row]) -> str:
    """The whole page."""
    return HEAD + "".join(f"{each}\n" for each in lines(rows))


def write_page() -> None:
    """Write the page from the rows."""
    PAGE.write_text(page(read_rows()))


if __name__ == "__main__":
    write_page()
