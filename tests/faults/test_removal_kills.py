"""A removal may be killed at every one of its writes; run again, nothing of the subject is left."""

import shutil
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from data_prep.store.check import check, repair
from data_prep.store.commits import removed_subjects
from data_prep.store.removal import remove_subject
from data_prep.store.store import open_store
from mrct.errors import StoreError
from mrct.storage.local_path import LocalPath
from tests.faults.converted import contents
from tests.support.kills import is_killed, kill_this_process
from tests.support.stores import make_store

WRITES = ("put", "remove")


def killed_before(write: int, work: Callable[[], object]) -> bool:
    """Do the work in a fork that is killed before its write of this number, and in the middle of it
    where it deletes a folder; return whether it was killed."""

    def doomed() -> None:
        count = 0

        def counted(method: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(method)
            def call(path: LocalPath, *arguments: Any) -> Any:
                nonlocal count
                if count == write:
                    for file in sorted(path.rglob("*"), reverse=True)[:1] if path.is_dir() else ():
                        file.unlink()
                    kill_this_process()
                count += 1
                return method(path, *arguments)

            return call

        for name in WRITES:
            setattr(LocalPath, name, counted(getattr(LocalPath, name)))
        work()

    return is_killed(doomed)


def test_a_removal_killed_at_any_write_is_completed_later(tmp_path):
    path = tmp_path / "s.zarr"
    original = make_store(path, mri=2, ct=1, paired=1, shape=(4, 32, 32))
    subject = next(volume.subject for volume in original.volumes if volume.link)
    unbroken = LocalPath(shutil.copytree(path, tmp_path / "unbroken.zarr"))
    remove_subject(unbroken, subject)
    expected = contents(unbroken)
    writes = 0

    while True:
        broken = LocalPath(shutil.copytree(path, tmp_path / f"{writes}.zarr"))
        if not killed_before(writes, partial(remove_subject, broken, subject)):
            break
        began = subject in removed_subjects(broken)
        for volume in open_store(broken).volumes:
            if volume.subject != subject or not began:
                original.verify(volume, full=True)
                open_store(broken).verify(volume, full=True)
            elif not (broken / volume.name).exists():
                with pytest.raises(StoreError):  # never an old copy, never zeros
                    open_store(broken).voxels(volume)
        if writes % 2 and began:
            repair(broken, print)  # whatever writes next completes it
        else:
            remove_subject(broken, subject)
        assert contents(broken) == expected
        assert check(open_store(broken), full=True) == []
        writes += 1

    assert writes >= 7  # the list, two volumes of a record and a folder each, splits, index
    assert contents(broken) == expected
