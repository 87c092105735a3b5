"""Reading, work and writing of neighbouring items happen at the same time, and in order."""

import threading

import pytest

from cyclegan.translate.pipelining import run_pipelined


def test_results_come_in_order_and_a_failure_is_raised():
    doubled = run_pipelined(range(7), lambda x: x, lambda x: 2 * x, lambda x: x + 1)
    assert list(doubled) == [1, 3, 5, 7, 9, 11, 13]
    assert list(run_pipelined([], str, str, str)) == []

    def fail(item: int) -> int:
        raise ValueError(f"no {item}")

    for stages in ((fail, int, int), (int, fail, int), (int, int, fail)):
        with pytest.raises(ValueError, match="no 0"):
            list(run_pipelined(range(3), *stages))


def test_the_next_is_read_and_the_last_written_while_one_is_worked_on():
    """Each stage of one item waits for the others of its neighbours: alone it would never end."""
    met = [threading.Barrier(3, timeout=20) for _ in range(3)]

    def read(item: int) -> int:
        if item >= 2:
            met[item - 2].wait()
        return item

    def work(item: int) -> int:
        if 1 <= item <= 3:
            met[item - 1].wait()
        return item

    def write(item: int) -> int:
        if item <= 2:
            met[item].wait()
        return item

    assert list(run_pipelined(range(5), read, work, write)) == [0, 1, 2, 3, 4]


def test_three_are_held_and_never_more():
    """A write waits until the item two later is read: fewer than three held would never end."""
    held: set[int] = set()
    most = 0
    was_read = [threading.Event() for _ in range(40)]

    def read(item: int) -> int:
        nonlocal most
        held.add(item)
        most = max(most, len(held))
        was_read[item].set()
        return item

    def write(item: int) -> int:
        assert was_read[min(item + 2, 39)].wait(timeout=20)
        held.remove(item)
        return item

    list(run_pipelined(range(40), read, lambda item: item, write))
    assert most == 3
