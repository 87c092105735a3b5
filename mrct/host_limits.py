"""Checks of a machine's limits before a worker starts: open files and shared memory.

Without them a worker would crash hours later, with a message that names neither.
"""

import os
import resource
from pathlib import Path

from mrct.errors import UserError

OPEN_FILES = 4096
"""Open files that a worker may need: concurrent reads, sockets of Ray and of the collectives."""
SHARED_MEMORY = Path("/dev/shm")
SHARED_BYTES = 256 * 2**20
"""Shared memory per worker of a machine: NCCL's buffers between its GPUs."""


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
