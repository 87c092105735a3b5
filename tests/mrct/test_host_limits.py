"""What a machine must allow is said before a run starts, with the numbers and the remedy."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mrct.errors import ExitCode, UserError
from mrct.host_limits import (
    SHARED_BYTES,
    exceeded_limit,
    free_memory_bytes,
    require_files,
    require_shared_memory,
)

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


MiB = 2**20


def group(folder: Path, limit: int | str, used: int, cached: int, version: int) -> None:
    """A control group as the kernel shows it."""
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")}
    limit_name, usage_name, key = names.get(
        version, ("memory.max", "memory.current", "inactive_file")
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / usage_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{key} {cached}\nactive_file 7\n")


def own(folder: Path, *lines: str) -> Path:
    """What the kernel tells a process of its groups."""
    path = folder / "own"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


UNLIMITED_V1 = 2**63 - 4096


def test_a_job_may_take_what_its_group_leaves_without_what_is_only_cached(tmp_path: Path) -> None:
    group(tmp_path / "slurm/job_7", 100 * MiB, 60 * MiB, 20 * MiB, version=2)

    left = free_memory_bytes(tmp_path, own(tmp_path, "0::/slurm/job_7"))

    assert left == 60 * MiB


def test_the_tightest_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    group(tmp_path / "slurm", 50 * MiB, 45 * MiB, 0, version=2)
    group(tmp_path / "slurm/job_7", "max", 40 * MiB, 0, version=2)

    assert free_memory_bytes(tmp_path, own(tmp_path, "0::/slurm/job_7")) == 5 * MiB


@pytest.mark.parametrize("name", ["/docker/abc", "/"])
def test_a_container_knows_its_own_group_alone_by_the_name_of_the_host(
    name: str, tmp_path: Path
) -> None:
    group(tmp_path / "memory", 30 * MiB, 10 * MiB, 0, version=1)
    lines = "11:cpu,cpuacct:/x", f"4:memory:{name}", "1:name=systemd:/", "0::/"

    assert free_memory_bytes(tmp_path, own(tmp_path, *lines)) == 20 * MiB


def test_a_group_without_limit_and_a_machine_without_groups_leave_what_the_machine_has(
    tmp_path: Path,
) -> None:
    group(tmp_path / "memory/job", UNLIMITED_V1, 10 * MiB, 0, version=1)
    available = 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])

    unlimited = free_memory_bytes(tmp_path, own(tmp_path, "4:memory:/job"))
    without = free_memory_bytes(tmp_path / "none", tmp_path / "no such file")

    assert unlimited == pytest.approx(available, rel=0.2)
    assert without == pytest.approx(available, rel=0.2)


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "job", 10 * MiB, 12 * MiB, 0, version=2)

    assert free_memory_bytes(tmp_path, own(tmp_path, "0::/job")) == 0


ADDRESS_SPACE = """
import resource
from mrct.host_limits import free_memory_bytes
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
print(free_memory_bytes())
"""


def test_ulimit_v_counts() -> None:
    command = [sys.executable, "-c", ADDRESS_SPACE]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert 100 * MiB < int(told) < 2**30


TOO_MUCH = """
import resource
from mrct.cli import run_command
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
run_command(lambda argv: bytearray(2**40), [])
"""


def test_a_command_that_memory_does_not_suffice_for_says_so() -> None:
    command = [sys.executable, "-c", TOO_MUCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith("error: Memory does not suffice: ")
    assert "ulimit -v unlimited" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.EMFILE, "Too many open files", "/patient"), "ulimit -n 4096"),
        (OSError(errno.ENOMEM, "Cannot allocate memory", "/patient"), "ulimit -v unlimited"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "ulimit -v"),
        (OSError("libtorch_cpu.so: failed to map segment from shared object"), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    ],
)
def test_other_signs_of_a_limit_are_told_alike_and_without_a_path(
    error: Exception, word: str
) -> None:
    assert word in exceeded_limit(error)
    assert "patient" not in exceeded_limit(error)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "No such file"), ImportError("no module"), RuntimeError("odd")]
)
def test_another_error_is_no_limit(error: Exception) -> None:
    assert exceeded_limit(error) == ""


def test_a_full_pipe_that_does_not_block_is_no_limit_of_memory() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb", 0) as source, os.fdopen(writer, "wb") as output:
        with pytest.raises(BlockingIOError) as full:
            output.write(bytes(1 << 20))
        source.read(1 << 20)  # room for what is buffered

    assert full.value.errno == errno.EAGAIN
    assert exceeded_limit(full.value) == ""
