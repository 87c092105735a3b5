"""Limits of a machine and of its user: open files, memory and shared memory.

They are checked before a worker starts, because it would crash hours later with a message that
names none of them, and memory also before a volume is decoded or preprocessed, because the kernel
kills a process that exceeds the limit of its cgroup.
"""

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mrct.errors import UserError

OPEN_FILES = 4096
"""Open files that a worker may need: concurrent reads, sockets of Ray and of the collectives."""
RAY_OPEN_FILES = 1024
"""Open files that a process of Ray may need to convert volumes."""
RAY_ADDRESS_SPACE = 16 * 2**30
"""Address space of a process of Ray beside that of its object store, a third of the memory."""
LIBRARIES_BYTES = 3 << 29
"""Memory below which a command may end in a library that does not say why."""
SHARED_MEMORY = Path("/dev/shm")
SHARED_BYTES = 256 * 2**20
"""Shared memory per worker of a machine: NCCL's buffers between its GPUs."""

CGROUPS = Path("/sys/fs/cgroup")
"""Where the kernel mounts the control groups of version 2, and folders of version 1."""
OWN_CGROUPS = Path("/proc/self/cgroup")
"""The file that names the control groups of a process."""
_FILES_V2 = ("memory.max", "memory.current", "inactive_file")
_FILES_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""A group's files of its limit and its use, and the key of cached files in its memory.stat."""
_NOTHING_LEFT = re.compile(
    "failed to map segment|(can't|cannot) allocate memory|can't start new thread", re.IGNORECASE
)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def require_for_ray() -> None:
    """Check that Ray can start on this machine: open files and address space.

    Raises:
        UserError: It cannot. Ray itself would try for a minute and name neither.
    """
    require_files(RAY_OPEN_FILES)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    needed = RAY_ADDRESS_SPACE + os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES // 3
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UserError(
                f"`ulimit -v` allows a process {hard / 2**30:.1f} GiB of address space; Ray "
                f"reserves up to {needed / 2**30:.0f} GiB here, most of which it never uses. "
                "Remove the limit (`ulimit -v unlimited`; in a Slurm job the control group limits "
                "memory). A conversion can also do without Ray (--workers 0)."
            )
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def require_for_training() -> None:
    """Check that workers, and Ray unless RAY_ADDRESS names a cluster, can start on this machine.

    A command calls it before it imports libraries that take long.

    Raises:
        UserError: They cannot.
    """
    if os.environ.get("RAY_ADDRESS") in (None, "", "local"):  # Ray's word for one of its own
        require_files()
        require_for_ray()


def require_files(files: int = OPEN_FILES) -> None:
    """Raise the process's limit of open files to the required number.

    Raises:
        UserError: The machine does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            raise UserError(
                f"This machine allows a process {hard} open files; a worker needs up to {files} "
                "and would fail during a run. Raise the limit before Ray starts "
                f"(`ulimit -n {files}`, or in a container --ulimit nofile={files})."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def require_shared_memory(workers: int, folder: Path = SHARED_MEMORY) -> None:
    """Check that this machine has enough shared memory for its workers.

    Raises:
        UserError: It has less; the message gives the required size and how to provide it.
    """
    if workers < 2 or not folder.is_dir():
        return
    found = os.statvfs(folder)
    free, needed = found.f_bavail * found.f_frsize, workers * SHARED_BYTES
    if free < needed:
        mib = 2**20
        raise UserError(
            f"{folder} has {free // mib} MiB free; {workers} workers on one machine need "
            f"{needed // mib} MiB to exchange gradients, and would crash in their first step. "
            "A container has 64 MiB by default: give docker run --shm-size="
            f"{needed // mib}m, or in Kubernetes mount an emptyDir of medium Memory at /dev/shm. "
            f"If a killed run left files in {folder}, delete them."
        )


def memory_warning() -> str:
    """Return a warning if there is hardly memory for the libraries of a command, else nothing.

    It comes before the work: the kernel kills a process that exceeds its control group, and BLAS
    ends one that reaches `ulimit -v`, and neither names the remedy.
    """
    free = free_memory_bytes()
    if free >= LIBRARIES_BYTES:
        return ""
    return (
        f"Only {free / 2**20:,.0f} MiB of memory are left by the machine, the control groups of "
        "this process (a container, a Slurm job) and `ulimit -v`. The libraries alone may take "
        f"{LIBRARIES_BYTES / 2**20:,.0f} MiB, and what takes more is ended without a message. "
        "Request more, or remove the limits (`ulimit -v unlimited`)."
    )


def exceeded_limit(error: BaseException) -> str:
    """Return the message for an error because a limit was reached; empty for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"Too many open files: this process may open {soft} (at most {hard}). Raise the limit, "
            f"e.g. `ulimit -n {OPEN_FILES}`, and run the same command again."
        )
    # EAGAIN is a process that could not be started, unless an output that must not wait was full.
    is_memory = isinstance(error, MemoryError) or (
        isinstance(error, OSError)
        and error.errno in (errno.ENOMEM, errno.EAGAIN)
        and not hasattr(error, "characters_written")
    )
    # The loader of shared libraries and the start of threads have no other sign of it.
    may_say = isinstance(error, ImportError | OSError | RuntimeError)
    says_so = may_say and _NOTHING_LEFT.search(str(error))
    if is_memory or says_so:
        free_mib = free_memory_bytes() / 2**20
        return (
            f"Memory does not suffice: {free_mib:,.0f} MiB are left by the machine, the control "
            "groups of this process (a container, a Slurm job) and `ulimit -v`. Request more, or "
            "remove the limits (`ulimit -v unlimited`, for threads `ulimit -u`), and run the same "
            "command again."
        )
    return ""


def free_memory_bytes(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Return the memory that this process may still take.

    This is the least of what the machine, the control groups of the process (a container, a Slurm
    job) and `ulimit -v` leave. Files cached in memory count as free.

    Args:
        cgroups: Where the control groups are mounted.
        own: The file that names those of this process.
    """
    left = [_left_by_machine(), *_left_by_cgroups(cgroups, own)]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left.append(limit - int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES)
    return max(0, min(left))


def _left_by_machine() -> int:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(1024 * int(line[1]) for line in lines if line[0] in ("MemAvailable:", "SwapFree:"))


def _left_by_cgroups(cgroups: Path, own: Path) -> Iterator[int]:
    """Yield what each group around this process leaves of its limit, in bytes.

    A group has a limit of its own and those of all groups around it. In a container the names of
    the outer ones are known, but not their files.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:  # version 2, or its part of a hybrid of both
            roots, files = [cgroups, cgroups / "unified"], _FILES_V2
        elif "memory" in controllers.split(","):
            roots, files = [cgroups / "memory"], _FILES_V1
        else:
            continue
        limit_file, usage_file, cached = files
        for root in roots:
            inner = root / name.lstrip("/")
            for group in (inner, *inner.parents):
                if group.is_relative_to(root):
                    with suppress(OSError, ValueError):  # no such file, or "max"
                        limit = int((group / limit_file).read_text())
                        used = int((group / usage_file).read_text())
                        yield limit - used + _cached_bytes(group, cached)


def _cached_bytes(group: Path, name: str) -> int:
    """Return the cached file contents that the kernel drops before it kills a process."""
    with suppress(OSError):
        for line in (group / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
