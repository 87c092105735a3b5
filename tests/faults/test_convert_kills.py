"""P8: a conversion may be killed at any moment; resumed, its store is the unbroken one's.

Ten kills of the writing path here, 300 by `make faults`; one with Ray.
"""

import subprocess
import sys
import time

import psutil
import pytest

from data_prep.store.check import check
from data_prep.store.store import open_store
from mrct.errors import ExitCode
from tests.faults.convert_kills import (
    ENVIRONMENT,
    ROOT,
    Converter,
    contents,
    kills_of_conversions,
    make_cohort,
)
from tests.support.volumes import write_head


@pytest.mark.slow
def test_a_killed_conversion_resumes_to_the_store_of_an_unbroken_one(tmp_path):
    with kills_of_conversions(tmp_path) as inject:
        for number in range(2):
            inject(number)


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_conversion_by_ray_resumes_to_the_same_store(tmp_path):
    cohort = make_cohort(tmp_path)
    unbroken, broken = tmp_path / "unbroken.zarr", tmp_path / "broken.zarr"
    command = [sys.executable, "-m", "data_prep", "convert", "--workers", "2"]
    command += ["--manifest", str(cohort / "manifest.csv"), "--key-file", str(cohort / "key")]
    command += ["--spacing-mm", "6", "8", "8", "--size", "24", "24", "--out"]
    converter = Converter(unbroken, cohort)
    assert converter.run()[1] == 0
    converter.close()
    conversion = subprocess.Popen(
        [*command, str(broken)], cwd=ROOT, env=ENVIRONMENT, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(broken.glob("commits/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    conversion.kill()
    conversion.wait()

    subprocess.run([*command, str(broken)], cwd=ROOT, env=ENVIRONMENT, check=True, timeout=120)

    assert contents(broken) == contents(unbroken)
    assert check(open_store(broken), full=True) == []


@pytest.mark.slow
@pytest.mark.ray
def test_no_volume_is_refused_because_ray_was_lost(tmp_path):
    for number in range(12):
        write_head(tmp_path / f"mri/{number}.nii", "mri", number)
    command = [sys.executable, "-m", "data_prep", "convert", "--mri", "mri", "--out", "s.zarr"]
    command += ["--spacing-mm", "6", "8", "8", "--size", "24", "24", "--workers"]
    with (tmp_path / "log").open("w+") as log:
        conversion = subprocess.Popen([*command, "2"], cwd=tmp_path, env=ENVIRONMENT, stderr=log)
        deadline = time.monotonic() + 400
        while not list(tmp_path.glob("s.zarr/commits/*.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        for each in psutil.Process(conversion.pid).children(recursive=True):
            if each.name() == "raylet":  # goes with its node
                each.kill()
        ended = conversion.wait(200)
        log.seek(0)
        text = log.read()

    assert ended == ExitCode.FAILED, text
    assert "no volume is refused for that" in text
    assert "Traceback" not in text
    assert not (tmp_path / "s.zarr.quarantine.jsonl").exists()
    subprocess.run([*command, "0"], cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=200)
    store = open_store(tmp_path / "s.zarr")
    assert len(store.volumes) == 12
    assert check(store, full=True) == []
