"""What a machine must allow is said before a run starts, with the numbers and the remedy."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mrct.errors import UserError
from mrct.host_limits import SHARED_BYTES, require_files, require_shared_memory

LIMITED = """
import resource, sys
from mrct.host_limits import require_files
from mrct.errors import UserError
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    require_files(1000)
except UserError as error:
    print(error)
else:
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def under(soft: int, hard: int) -> str:
    """What the check says in a process with these limits: they cannot be raised again here."""
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_low_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    assert under(256, 2000) == "(1000, 2000)\n"


def test_a_limit_that_is_high_enough_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    require_files(10)

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_limit_that_cannot_be_raised_is_named_with_the_number_needed() -> None:
    said = under(256, 512)

    for part in ("512 open files", "up to 1000", "ulimit -n 1000", "--ulimit nofile=1000"):
        assert part in said


def test_too_little_shared_memory_is_named_with_the_number_needed(tmp_path: Path) -> None:
    workers = 2**40 // SHARED_BYTES + 2  # 1 TiB and more: no test machine has it free

    with pytest.raises(UserError) as caught:
        require_shared_memory(workers, tmp_path)

    needed = workers * SHARED_BYTES // 2**20
    for part in (str(tmp_path), "MiB free", f"need {needed} MiB", f"--shm-size={needed}m"):
        assert part in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_room_enough_or_a_worker_alone_is_no_trouble(workers: int, tmp_path: Path) -> None:
    require_shared_memory(workers, tmp_path)
    require_shared_memory(workers, tmp_path / "not there")
