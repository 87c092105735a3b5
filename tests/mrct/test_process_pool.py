"""Each item gets one result, whichever processes die."""

from collections import Counter
from functools import partial

import pytest

from mrct.process_pool import ProcessDiedError, ProcessPool
from tests.support.pool_work import open_nothing, open_squares

GIVEN_UP = -1


def pool(folder, items, processes=2):
    return ProcessPool(
        items=items,
        open_work=partial(open_squares, folder),
        give_up=lambda number: (GIVEN_UP, number),
        processes=processes,
    )


def test_several_processes_share_the_items(tmp_path):
    (tmp_path / "both").touch()

    found = list(pool(tmp_path, range(40)).run())

    assert sorted(square for square, _ in found) == [n**2 for n in range(40)]
    assert len({process for _, process in found}) == 2


def test_a_process_that_dies_once_loses_nothing(tmp_path):
    (tmp_path / "once-3").touch()
    (tmp_path / "once-7").touch()

    found = Counter(square for square, _ in pool(tmp_path, range(12)).run())

    assert found == {n**2: 1 for n in range(12)}


def test_only_the_item_that_kills_is_given_up(tmp_path):
    (tmp_path / "always-5").touch()

    found = list(pool(tmp_path, range(9)).run())

    assert [number for square, number in found if square == GIVEN_UP] == [5]
    assert sorted(square for square, _ in found)[1:] == sorted(n**2 for n in range(9) if n != 5)


def test_an_error_in_a_process_is_raised_here(tmp_path):
    with pytest.raises(ValueError, match="no root of -2"):
        list(pool(tmp_path, [1, -2, 3]).run())


def test_processes_that_cannot_begin_end_the_work():
    stillborn = ProcessPool(
        items=[1, 2], open_work=open_nothing, give_up=lambda number: (0, 0), processes=2
    )
    with pytest.raises(ProcessDiedError, match=r"exit code 7.*Give fewer --processes"):
        list(stillborn.run())
