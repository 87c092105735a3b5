"""Every conversion warns of bodies that the slices crop, also one that continues another."""

from functools import partial

import pytest

from data_prep.convert import convert, worker
from data_prep.store.writer import write_volume
from tests.support.conversions import GRID, run
from tests.support.kills import is_killed, kill_this_process

SMALL = {**GRID, "size": (40, 32)}
"""Slices of 160 x 128 mm, for heads of 180 x 150 mm."""


def killed_after(volumes: int, **settings: object) -> bool:
    """Convert in a fork that is killed after so many volumes, or before it reports."""
    left = volumes

    def write(*arguments: object) -> object:
        nonlocal left
        if not left:
            kill_this_process()
        left -= 1
        return write_volume(*arguments)

    def doomed() -> None:
        worker.write_volume = write
        convert.rebuild_index = lambda out, fit: kill_this_process()
        run(**settings)

    return is_killed(doomed)


@pytest.mark.parametrize("volumes", [1, 8])
def test_what_a_killed_conversion_has_not_told_is_told_by_the_next(folders, volumes, tmp_path):
    unbroken, _ = run(**folders | {"out": tmp_path / "unbroken.zarr"}, **SMALL)
    assert len(unbroken.whole_sizes) == 8
    assert killed_after(volumes, **folders, **SMALL)

    report, _ = run(**folders, **SMALL)

    assert (report.kept, report.written) == (volumes, 8 - volumes)
    assert sorted(report.whole_sizes) == sorted(unbroken.whole_sizes)
    assert report.notes == unbroken.notes


def test_a_size_that_was_told_cuts_nothing(folders, tmp_path):
    report, _ = run(**folders, **SMALL)
    rows, columns = (max(sizes) for sizes in zip(*report.whole_sizes, strict=True))

    again = partial(run, **folders | {"out": tmp_path / "whole.zarr"}, **GRID)

    for _ in range(2):
        report, _ = again(size=(rows, columns))
        assert report.whole_sizes == ()


def test_a_volume_that_stays_without_its_partner_is_told_too(folders):
    for path in [*folders["mri"].iterdir(), *folders["ct"].iterdir()]:
        if "patient0" not in path.name:
            path.unlink()
    whole, _ = run(**folders, **SMALL, paired=True)
    assert len(whole.whole_sizes) == 2
    next(folders["ct"].iterdir()).write_bytes(b"damaged")

    report, _ = run(**folders, **SMALL, paired=True)

    assert (report.kept, len(report.refused)) == (1, 1)
    assert len(report.whole_sizes) == 1
