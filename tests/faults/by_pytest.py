"""Faults that a test of its own injects, in a process of pytest."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def each_by_pytest(folder: LocalPath, tests: Sequence[str]) -> Iterator[Inject]:
    """Each injection is one of the tests, in full; one that is skipped is not survived."""

    def inject(number: int) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rs", tests[number]],
            cwd=ROOT,
            env=os.environ | {"CYCLEGAN_FAULTS": "full"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-4000:]
        assert not re.search(r"\d+ skipped", ended.stdout), ended.stdout[-4000:]

    yield inject
