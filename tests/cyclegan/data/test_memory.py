"""Freed memory stays with the process: the kernel need not clear it again for the next batch."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from cyclegan.data.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for _ in range(50):
        blocks = [np.ones(2**18) for _ in range(8)]  # 8 blocks of 2 MiB, as of a batch
        del blocks
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the kernel had to give while blocks came and went."""
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own setting")
def test_blocks_that_come_and_go_are_the_same_memory() -> None:
    assert faults("kept") < 100 < 1000 < faults("given back")
