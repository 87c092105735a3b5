"""Conversions that are killed at any moment, and resumed to the store of an unbroken one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.datasets.manifest import Row, write_manifest
from data_prep.store.store import open_store
from mrct.storage.local_path import LocalPath
from tests.faults.by_pytest import ROOT
from tests.faults.converted import contents
from tests.faults.injections import Inject
from tests.support.volumes import write_head

KILLS_OF_A_STORE = 5
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def make_cohort(folder: Path) -> Path:
    """A manifest of four small volumes, two of them a pair."""
    rows = []
    for number, (modality, pair) in enumerate(
        [("mri", "p"), ("ct", "p"), ("mri", None), ("ct", None)]
    ):
        path = folder / f"{number}.nii"
        write_head(path, modality, 0 if pair else number)
        rows.append(Row(path=path, modality=modality, subject=pair or str(number), pair=pair))
    write_manifest(folder / "manifest.csv", rows)
    return folder


class Converter:
    """The program of convert_forks, ready to convert at once."""

    def __init__(self, out: Path, cohort: Path) -> None:
        arguments = [out, cohort / "manifest.csv", cohort / "key"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.convert_forks", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )

    def run(self, kill_after_s: float = float("inf")) -> tuple[float, int]:
        """Convert; returns how long it ran and its exit code, negative where it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(kill_after_s, file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        assert answer["code"] in (0, -signal.SIGKILL), answer["told"]
        return answer["ran_s"], answer["code"]

    def close(self) -> None:
        self._process.communicate()


def look_at_what_is_there(store: Path) -> None:
    """A reader of the half-made store sees sound volumes or none."""
    if (store / "index.safetensors").exists():
        opened = open_store(store)
        for volume in opened.volumes:
            opened.verify(volume, full=True)


@contextmanager
def kills_of_conversions(folder: LocalPath) -> Iterator[Inject]:
    """Each injection kills the conversions of one store `KILLS_OF_A_STORE` times."""
    cohort = make_cohort(folder)
    unbroken, broken = folder / "unbroken.zarr", folder / "broken.zarr"
    converter = Converter(unbroken, cohort)
    whole_s, code = converter.run()
    converter.close()
    assert code == 0
    expected = contents(unbroken)
    converter = Converter(broken, cohort)

    def inject(number: int) -> None:
        draw, kills = random.Random(number), 0
        shutil.rmtree(broken, ignore_errors=True)
        while kills < KILLS_OF_A_STORE:
            committed = {path.name for path in broken.glob("commits/*.json")}
            _, code = converter.run(kill_after_s=draw.uniform(0, whole_s))
            kills += code == -signal.SIGKILL
            look_at_what_is_there(broken)
            assert committed <= {path.name for path in broken.glob("commits/*.json")}
            if code == 0:  # whole before its kills: another after it
                assert contents(broken) == expected
                shutil.rmtree(broken)
        assert converter.run()[1] == 0
        assert contents(broken) == expected
        shutil.rmtree(broken)

    try:
        yield inject
    finally:
        converter.close()
