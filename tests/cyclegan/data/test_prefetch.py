"""The loader works ahead in a thread, and one that is stuck or gone is noticed and named."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice

import pytest

from cyclegan.data.prefetch import ITEMS_AHEAD, Heartbeat, prefetch
from cyclegan.errors import LoaderError

SHORT_S = 0.6


def squares(step: int, heartbeat: Heartbeat) -> Iterator[int]:
    for number in count(step):
        heartbeat(f"squaring {number}")
        yield number**2


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("stream")]


def test_items_come_in_order_from_the_step_asked_for() -> None:
    with closing(prefetch(squares, 3, stall_s=5, note=pytest.fail)) as items:
        assert list(islice(items, 5)) == [9, 16, 25, 36, 49]


def test_it_works_ahead_but_not_far() -> None:
    made: list[int] = []

    def counted(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        for number in squares(step, heartbeat):
            made.append(number)
            yield number

    with closing(prefetch(counted, 0, stall_s=5, note=pytest.fail)) as items:
        next(items)
        time.sleep(0.3)
        assert 2 <= len(made) <= ITEMS_AHEAD + 2  # one taken, some ready, one in hand


def test_an_error_reaches_its_step_and_no_earlier_one() -> None:
    def failing(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        yield from islice(squares(step, heartbeat), 2)
        raise ZeroDivisionError("third")

    with closing(prefetch(failing, 0, stall_s=5, note=pytest.fail)) as items:
        assert list(islice(items, 2)) == [0, 1]
        with pytest.raises(ZeroDivisionError, match="third"):
            next(items)
    assert not threads()


def test_a_stuck_thread_is_named_and_another_goes_on_at_its_step() -> None:
    notes: list[str] = []
    release = threading.Event()

    def sticking(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        for number in squares(step, heartbeat):
            if number == 4 and step == 0:
                heartbeat("reading the CT slices of step 2")
                release.wait()
            yield number

    with closing(prefetch(sticking, 0, stall_s=SHORT_S, note=notes.append)) as items:
        assert list(islice(items, 5)) == [0, 1, 4, 9, 16]
    release.set()

    (note,) = notes
    assert "no progress for 0.6 s" in note
    assert "reading the CT slices of step 2" in note
    assert "restarted at step 2" in note


def test_a_loader_that_sticks_again_is_an_error_within_seconds() -> None:
    release = threading.Event()

    def stuck(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        if step == 7:
            yield step
        heartbeat("building")
        release.wait()
        yield step

    with closing(prefetch(stuck, 7, stall_s=SHORT_S, note=lambda text: None)) as items:
        next(items)
        started = time.monotonic()
        with pytest.raises(LoaderError, match=r"building.*--data\.stall-s"):
            next(items)
    release.set()

    # The second thread has no item either, but what a first one waits for has been done.
    assert time.monotonic() - started < 2 * SHORT_S + 3


def test_the_first_item_may_take_longer_but_not_for_ever() -> None:
    stall_s = 0.5

    def cold(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        heartbeat("loading libraries")
        time.sleep(2.5 * stall_s)
        yield from squares(step, heartbeat)

    with closing(prefetch(cold, 3, stall_s=stall_s, note=pytest.fail)) as items:
        assert next(items) == 9

    notes: list[str] = []
    release = threading.Event()

    def stuck(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        if not notes:
            release.wait()
        yield from squares(step, heartbeat)

    with closing(prefetch(stuck, 3, stall_s=0.3, note=notes.append)) as items:
        assert next(items) == 9
    release.set()
    assert "no progress for 1.8 s" in notes[0]


def test_a_slow_loader_that_shows_signs_of_life_is_left_in_peace() -> None:
    def slow(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        for part in range(8):
            heartbeat(f"part {part}")
            time.sleep(SHORT_S / 3)
        yield step

    with closing(prefetch(slow, 7, stall_s=SHORT_S, note=pytest.fail)) as items:
        assert next(items) == 7


def test_a_thread_that_ends_without_a_word_is_noticed_at_once() -> None:
    def ending(step: int, heartbeat: Heartbeat) -> Iterator[int]:
        return iter(())

    started = time.monotonic()
    with (
        closing(prefetch(ending, 0, stall_s=60, note=lambda text: None)) as items,
        pytest.raises(LoaderError, match="ended without an error"),
    ):
        next(items)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("num_taken", [0, 1, 4])
def test_closing_ends_the_thread(num_taken: int) -> None:
    items = prefetch(squares, 0, stall_s=5, note=pytest.fail)
    list(islice(items, num_taken))

    items.close()

    assert not threads()
