"""Counts of injected faults continue where they stopped, and the page is what the rows say."""

import signal
from contextlib import contextmanager
from itertools import chain

import pytest

from tests.faults import __main__ as command
from tests.faults import promises
from tests.faults import rows as counts
from tests.faults.by_pytest import ROOT
from tests.faults.injections import Kind
from tests.faults.promises import KINDS, PROMISES
from tests.faults.reliability_page import PAGE, line, page
from tests.faults.rows import count_of, missing, read_rows


class Faults:
    """Injections that note their numbers, and what becomes of some of them."""

    def __init__(self, raises: dict[int, BaseException] | None = None) -> None:
        self.raises, self.injected = raises or {}, []

    def kind(self, full: int = 10, each: int = 2) -> Kind:
        @contextmanager
        def begin(folder):
            yield self.inject

        return Kind(name="kills", promises=("P1",), full=full, each=each, begin=begin)

    def inject(self, number: int) -> None:
        self.injected.append(number)
        if number in self.raises:
            raise self.raises[number]


@contextmanager
def nothing(folder):
    """Injections that are survived."""
    yield lambda number: None


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the rows of a test go."""
    path = tmp_path / "faults.jsonl"
    monkeypatch.setattr(command, "write_row", lambda row: counts.write_row(row, path))
    return path


def run(faults: Faults, path, for_s: float = 60, **kind: int) -> bool:
    kind = faults.kind(**kind)
    return command.run_piece(kind, list(missing(kind, read_rows(path))), for_s)


def test_a_piece_that_is_interrupted_loses_the_injection_that_it_was_at(path):
    interrupted, resumed = Faults({3: KeyboardInterrupt()}), Faults()
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, path)
    assert run(resumed, path)

    assert (interrupted.injected, resumed.injected) == ([0, 1, 2, 3], [3, 4])
    first, second = read_rows(path)
    assert (first.first, first.injected, first.survived) == (0, 6, 6)
    assert (second.first, second.injected, second.survived) == (3, 4, 4)
    assert run(Faults(), path)
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize("error", [AssertionError("lost"), pytest.fail.Exception("DID NOT RAISE")])
def test_what_is_not_survived_is_kept_with_its_number_and_counts_until_it_is(path, error):
    assert not run(Faults({1: error}), path)
    (row,) = read_rows(path)
    assert (row.injected, row.survived, list(row.failed)) == (10, 8, ["1"])
    assert str(error) in row.failed["1"]
    kind = Faults().kind()
    assert "8, 2 **not**" in line(kind, [row])

    assert command.run_piece(kind, [1], 60)

    assert count_of(kind, read_rows(path)).survived == 10
    assert "**not**" not in line(kind, read_rows(path))


def test_a_piece_ends_with_its_time(path, monkeypatch):
    faults = Faults()
    clock = iter(range(1000))
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))

    run(faults, path, for_s=5)

    assert 0 < len(faults.injected) < 5


def test_kinds_of_a_promise_share_its_time_and_what_is_complete_takes_none(path, monkeypatch):
    kinds = [Kind(name=name, promises=("P1",), full=2, begin=nothing) for name in "abc"]
    command.run_piece(kinds[1], [0, 1], 60)
    pieces = []
    monkeypatch.setattr(command, "KINDS", kinds)
    monkeypatch.setattr(command, "read_rows", lambda: read_rows(path))
    monkeypatch.setattr(command, "write_page", lambda: None)
    monkeypatch.setattr(command, "run_piece", lambda *piece: pieces.append(piece) or True)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    assert command.main(["--promise", "P1", "--minutes", "10"]) == 0

    assert [(kind.name, numbers) for kind, numbers, _ in pieces] == [("a", [0, 1]), ("c", [0, 1])]
    assert [for_s for *_, for_s in pieces] == [pytest.approx(300), pytest.approx(600, abs=5)]


def test_what_was_counted_before_a_date_is_counted_again(path):
    run(Faults(), path)
    rows, kind = read_rows(path), Faults().kind()

    assert list(missing(kind, rows, since="2026-01-01")) == []
    assert list(missing(kind, rows, since="9999-01-01")) == list(kind.numbers)


def test_a_count_that_is_not_full_says_so(path):
    assert "not counted yet" in line(Faults().kind(), [])
    run(Faults(), path)
    assert "| 10 | 10 | 10 |" in line(Faults().kind(), read_rows(path))
    assert "| 10, not full | 20 | 10 |" in line(Faults().kind(full=20), read_rows(path))


def test_every_promise_has_injections_and_every_kind_a_name_of_its_own():
    assert {promise for kind in KINDS for promise in kind.promises} == set(PROMISES)
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_every_test_that_is_counted_is_there():
    for name in chain(*promises.TESTS.values()):
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text() or not test, name


def test_every_row_is_of_a_kind_that_there_is():
    assert {row.kind for row in read_rows()} <= {kind.name for kind in KINDS}


def test_the_page_of_reliability_is_what_the_rows_say():
    assert PAGE.read_text() == page(read_rows()), (
        "regenerate it: python -m tests.faults.reliability_page"
    )
