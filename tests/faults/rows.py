"""The counts of `make faults`, as lines of a file: one for each piece of a count."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mrct.storage.atomic import partial_path
from tests.faults.injections import Kind

ROWS = Path(__file__).resolve().parents[2] / "benchmarks/results/faults.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Injections of one kind with consecutive numbers, one after another on one machine."""

    promises: tuple[str, ...]
    kind: str
    first: int
    """Number of the first injection."""
    injected: int
    """Faults."""
    survived: int
    each: int
    """Faults of one injection."""
    failed: dict[str, str] = field(default_factory=dict)
    """What was not survived, by the number of the injection."""
    seconds: float
    machine: str
    commit: str
    date: str

    @property
    def numbers(self) -> range:
        """Of the injections of this piece."""
        return range(self.first, self.first + self.injected // self.each)

    def grown(self, failure: str, seconds: float) -> "Row":
        """With one injection more, and what was not survived of it."""
        return replace(
            self,
            injected=self.injected + self.each,
            survived=self.survived + (0 if failure else self.each),
            failed=self.failed | ({str(self.numbers.stop): failure} if failure else {}),
            seconds=round(self.seconds + seconds, 3),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """What all rows together say of one kind."""

    injected: int
    survived: int
    machines: tuple[str, ...]
    dates: tuple[str, ...]
    """Days of the rows that count, oldest first."""


def read_rows(path: Path = ROWS) -> list[Row]:
    """All rows, oldest first."""
    lines = path.read_text().splitlines() if path.exists() else []
    loaded = [json.loads(line) for line in lines]
    return [Row(**row | {"promises": tuple(row["promises"])}) for row in loaded]


def write_row(row: Row, path: Path = ROWS) -> None:
    """Append a row; one of a piece that has grown replaces the piece's earlier row."""
    rows = read_rows(path)
    same = bool(rows) and (rows[-1].kind, rows[-1].first, rows[-1].date) == (
        row.kind,
        row.first,
        row.date,
    )
    kept = rows[:-1] if same else rows
    lines = [json.dumps(asdict(each), ensure_ascii=False) for each in [*kept, row]]
    partial = partial_path(path)
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(path)  # not synced, which would take longer than most injections


def newest(kind: Kind, rows: list[Row]) -> dict[int, Row]:
    """The row that counts for each number: the last, so that what was mended counts as mended."""
    return {
        number: row
        for row in rows
        if row.kind == kind.name
        for number in row.numbers
        if number in kind.numbers
    }


def missing(kind: Kind, rows: list[Row], since: str = "") -> Iterator[int]:
    """Numbers that no row has, or none of that date or a later one; lowest first."""
    done = newest(kind, [row for row in rows if row.date >= since])
    return (number for number in kind.numbers if number not in done)


def count_of(kind: Kind, rows: list[Row]) -> Count:
    """What is known of a kind."""
    counted = newest(kind, rows)
    return Count(
        injected=sum(row.each for row in counted.values()),
        survived=sum(row.each for number, row in counted.items() if str(number) not in row.failed),
        machines=tuple(dict.fromkeys(row.machine for row in counted.values())),
        dates=tuple(sorted({row.date[:10] for row in counted.values()})),
    )
