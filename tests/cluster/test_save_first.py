"""The hook of a head's pod: what runs there is told to save, is waited for, and stays ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.submit.package import PROJECT

TRAIN = """
import pathlib, signal, sys, time
def save(number, frame):
    time.sleep(2)
    pathlib.Path("saved").touch()
    sys.exit(5)
signal.signal(signal.SIGTERM, save)
with open("starts", "a") as starts:
    starts.write("x")
while True:
    time.sleep(0.1)
"""
POD = """
python -m cluster.rerun_if_preempted -- python -m cyclegan.train brain-256 &
while [ ! -s starts ]; do sleep 0.1; done
bash "$1"
test -e saved && echo saved before the hook ends
wait $!
echo ended with $?
"""


def test_a_drained_head_lets_its_command_save_and_does_not_start_it_again(tmp_path: Path):
    # Never without a namespace: the hook signals whatever trains on its machine.
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.getuid() or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("needs the right to make a namespace of processes (root)")
    (tmp_path / "cyclegan").mkdir()
    (tmp_path / "cyclegan" / "__init__.py").touch()  # else a real one elsewhere comes before it
    (tmp_path / "cyclegan" / "train.py").write_text(TRAIN)
    for name in ("cluster", "mrct"):
        (tmp_path / name).symlink_to(PROJECT / name)
    hook = PROJECT / "cluster" / "kuberay" / "save-first.sh"

    told = subprocess.run(
        [*alone, "bash", "-c", POD, "pod", hook],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )

    assert told.stdout == "saved before the hook ends\nended with 5\n", told.stderr
    assert (tmp_path / "starts").read_text() == "x"
