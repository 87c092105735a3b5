"""Whatever a decoder does to its process, the worker lives and gets an error for people."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from data_prep.sources import sandbox
from data_prep.sources.sandbox import ReadRequest, read_in_sandbox
from mrct.errors import VolumeError
from tests.support import hostile

MiB = 1 << 20
DIES_WITH_ITS_WORKER = """
import sys
from functools import partial
from pathlib import Path
from pathlib import Path
from data_prep.sources.sandbox import read_in_sandbox
from tests.data_prep.sources.test_sandbox import reading
from tests.support.hostile import dawdle
read_in_sandbox(reading(partial(dawdle, Path(sys.argv[1]))), print)
"""


def reading(read, claimed_bytes=MiB, **limits) -> ReadRequest:
    return ReadRequest(
        read=read,
        decoded_bytes=partial(int, claimed_bytes),
        modality="mri",
        pseudonym="ours",
        **limits,
    )


def refusal(*args, **limits) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read_in_sandbox(reading(*args, **limits), print)
    return caught.value


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_volume_comes_back_whole_and_named_by_us():
    notes = []
    volume = read_in_sandbox(reading(hostile.tell), notes.append)

    expected = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)
    np.testing.assert_array_equal(volume.voxels, expected)
    np.testing.assert_array_equal(volume.affine, np.diag([0.1, 2, 3, 1]))
    assert (volume.modality, volume.pseudonym) == ("mri", "ours")
    assert notes == ["first", "second"]
    volume.voxels[0, 0, 0] = 5  # it is the caller's own


def test_a_decoder_gets_no_token_and_no_credentials(monkeypatch):
    secrets = ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "ANYTHING_ELSE")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    server = sandbox._Server()  # not the one that started before they were set
    monkeypatch.setattr(sandbox, "_SERVER", server)
    notes = []

    try:
        read_in_sandbox(reading(hostile.tell_environment), notes.append)
    finally:
        server.stop()

    assert "PATH" in notes
    assert not {*secrets} & {*notes}


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (hostile.segfault, "signal 11"),
        (hostile.abort, "signal 6"),
        (hostile.leave, "exit code 7"),
    ],
)
def test_a_decoder_that_dies_costs_one_volume(read, found):
    error = refusal(read)

    assert error.code == "decoder-crashed"
    assert found in error.reason
    assert read_in_sandbox(reading(hostile.tell), print).voxels.size == 24


def test_a_server_that_is_killed_takes_its_child_along_and_is_replaced(tmp_path):
    error = refusal(partial(hostile.kill_the_server, tmp_path / "pid"))

    assert error.code == "decoder-crashed"
    assert "its server was killed" in error.reason
    wait_until(lambda: not exists(int((tmp_path / "pid").read_text())))
    assert read_in_sandbox(reading(hostile.tell), print).voxels.size == 24


def test_memory_is_limited_by_what_the_header_claims():
    greedy = partial(hostile.hoard, 700)

    assert refusal(greedy, claimed_bytes=MiB).code == "memory"
    assert refusal(greedy, claimed_bytes=700 * MiB, most_bytes=600 * MiB).code == "memory"
    assert read_in_sandbox(reading(greedy, claimed_bytes=100 * MiB), print).voxels.shape == (
        1,
        512,
        512,
    )


def test_a_decoder_that_never_ends_is_stopped_with_all_it_started(tmp_path):
    started = time.monotonic()

    error = refusal(partial(hostile.dawdle, tmp_path / "pids"), timeout_s=3)

    assert error.code == "timeout"
    assert time.monotonic() - started < 20
    for pid in (tmp_path / "pids").read_text().split():
        wait_until(lambda pid=int(pid): not exists(pid))


def test_what_a_decoder_prints_and_raises_is_not_shown(capfd):
    error = refusal(hostile.chatter)

    assert error.code == "crashed"
    assert "RuntimeError at hostile.py" in error.reason
    assert "CANARY" not in str(error) + "".join(capfd.readouterr())


def test_no_decoder_outlives_its_worker(tmp_path):
    pids = tmp_path / "pids"
    worker = subprocess.Popen(
        [sys.executable, "-c", DIES_WITH_ITS_WORKER, pids],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, 60)
    worker.kill()
    worker.wait()

    for pid in pids.read_text().split():
        wait_until(lambda pid=int(pid): not exists(pid))


def test_nothing_is_left_open():
    read_in_sandbox(reading(hostile.tell), print)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(5):
        read_in_sandbox(reading(hostile.tell), print)
        refusal(hostile.abort)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    children = psutil.Process().children(recursive=True)  # other tests have children too
    (server,) = [
        child for child in children if "data_prep.sources.sandbox_server" in child.cmdline()
    ]
    assert server.status() != psutil.STATUS_ZOMBIE
