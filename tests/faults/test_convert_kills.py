"""P8: a conversion may be killed at any moment; resumed, its store is the unbroken one's.

Thirty kills of the writing path under `make test-all`, 300 under `make faults`; three with Ray.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.datasets.manifest import Row, write_manifest
from data_prep.store.check import check
from data_prep.store.store import open_store
from tests.conftest import ROOT
from tests.support.volumes import write_head

KILLS = 300 if os.environ.get("CYCLEGAN_FAULTS") == "full" else 30
LOCKS = {".lock", ".commit"}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of four small volumes, two of them a pair."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for number, (modality, pair) in enumerate(
        [("mri", "p"), ("ct", "p"), ("mri", None), ("ct", None)]
    ):
        path = folder / f"{number}.nii"
        write_head(path, modality, 0 if pair else number)
        rows.append(Row(path=path, modality=modality, subject=pair or str(number), pair=pair))
    write_manifest(folder / "manifest.csv", rows)
    return folder


def contents(store: Path) -> dict[str, str]:
    """SHA-256 of every file of a store but its locks and its history, by name: also of litter."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file() and path.name not in LOCKS and path.parent.name != "history"
    }


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


@pytest.mark.slow
def test_a_killed_conversion_resumes_to_the_store_of_an_unbroken_one(tmp_path, cohort):
    unbroken, broken = tmp_path / "unbroken.zarr", tmp_path / "broken.zarr"
    converter = Converter(unbroken, cohort)
    whole_s, code = converter.run()
    converter.close()
    assert code == 0
    expected = contents(unbroken)
    moments = random.Random(0)
    killed = completed = 0
    converter = Converter(broken, cohort)

    while killed < KILLS:
        _, code = converter.run(kill_after_s=moments.uniform(0, whole_s))
        killed += code == -signal.SIGKILL
        look_at_what_is_there(broken)
        # Now and then to the end, so that kills meet stores of every age.
        if code == 0 or moments.random() < 0.1:
            assert converter.run()[1] == 0
            assert contents(broken) == expected
            completed += 1
            shutil.rmtree(broken)

    assert converter.run()[1] == 0
    converter.close()
    assert contents(broken) == expected
    print(f"{killed} kills, {completed + 1} resumed stores equal, an unbroken run {whole_s:.2f} s")


def look_at_what_is_there(store: Path) -> None:
    """A reader of the half-made store sees sound volumes or none."""
    if (store / "index.safetensors").exists():
        opened = open_store(store)
        for volume in opened.volumes:
            opened.verify(volume, full=True)


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_conversion_by_ray_resumes_to_the_same_store(tmp_path, cohort):
    unbroken, broken = tmp_path / "unbroken.zarr", tmp_path / "broken.zarr"
    command = [sys.executable, "-m", "data_prep", "convert", "--workers", "2"]
    command += ["--manifest", str(cohort / "manifest.csv"), "--key-file", str(cohort / "key")]
    command += ["--spacing-mm", "6", "8", "8", "--size", "24", "24", "--out"]
    converter = Converter(unbroken, cohort)
    assert converter.run()[1] == 0
    converter.close()
    for kill in range(3):
        conversion = subprocess.Popen(
            [*command, str(broken)], cwd=ROOT, env=ENVIRONMENT, start_new_session=True
        )
        deadline = time.monotonic() + 120
        # From the first to the last commit; Ray itself takes most of the time before.
        wanted = kill
        while len(list(broken.glob("commits/*.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(kill).uniform(0, 0.3))
        conversion.kill()
        conversion.wait()

    subprocess.run([*command, str(broken)], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=120)

    assert contents(broken) == contents(unbroken)
    assert check(open_store(broken), full=True) == []
