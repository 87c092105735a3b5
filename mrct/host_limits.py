"""What a machine must allow before a worker starts: open files and shared memory.

Both are found out otherwise by a crash hours later, with a message that names neither.
"""

import os
import resource
from pathlib import Path

from mrct.errors import UserError

OPEN_FILES = 4096
"""Open files a worker may need: reads in flight, sockets of Ray and of the collectives."""
SHARED_MEMORY = Path("/dev/shm")
SHARED_BYTES = 256 * 2**20
"""Shared memory for each worker of a machine: NCCL's buffers between its GPUs."""


def require_files(files: int = OPEN_FILES) -> None:
    """Raise the process's limit of open files to what is needed.

    Raises:
        UserError: The machine does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            raise UserError(
                f"This machine allows a process {hard} open files; a worker needs up to {files} "
                "and would fail in the middle of a run. Raise the limit before Ray starts "
                f"(`ulimit -n {files}`, or in a container --ulimit nofile={files})."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def require_shared_memory(workers: int, folder: Path = SHARED_MEMORY) -> None:
    """Check that the workers of this machine find room for what they exchange.

    Raises:
        UserError: There is less; says how much is needed and how to get it.
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
            f"A container gets 64 MiB unless told otherwise: docker run --shm-size={needed // mib}m"
            ", in Kubernetes an emptyDir of medium Memory at /dev/shm. Where a killed run left its "
            f"memory behind, delete its files in {folder}."
        )
