"""python -m data_prep.sources.sandbox_server FD: forks a child for each file to decode.

`sandbox.py` starts it. It has one thread and all readers loaded, so that a fork is cheap and
safe. It ends when the worker at the other end of the socket does, and takes its child along.
"""

import ctypes
import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import sys
import warnings
from pathlib import Path

import numpy as np

from data_prep.sources.sandbox import REPLY, REQUEST, Reading
from mrct.errors import as_volume_error

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(line: socket.socket) -> None:
    """Answer requests until the worker hangs up."""
    gc.freeze()  # children share these pages and never collect them
    while True:
        request, descriptors, _, _ = socket.recv_fds(line, REQUEST.size, maxfds=2)
        if len(request) < REQUEST.size:
            return
        (timeout_s,) = REQUEST.unpack(request)
        child = os.fork()
        if child == 0:
            line.close()
            _be_child(*descriptors)
        os.setpgid(child, child)
        for descriptor in descriptors:
            os.close(descriptor)
        has_ended, is_wanted = _wait(child, line, timeout_s)
        os.killpg(child, signal.SIGKILL)  # and what it may have started itself
        _, status = os.waitpid(child, 0)
        if not is_wanted:
            return
        line.sendall(REPLY.pack(not has_ended, os.waitstatus_to_exitcode(status)))


def _wait(child: int, line: socket.socket, timeout_s: float) -> tuple[bool, bool]:
    """Whether the child ended by itself, and whether the worker still waits for it."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(line, select.POLLIN)  # it sends nothing now: readable means that it hung up
    ready = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000)}
    os.close(handle)
    return handle in ready, line.fileno() not in ready


def _be_child(letter: int, voxels: int) -> None:
    """Read what the letter asks for, leave the answer in its place, and end."""
    code = 1
    try:
        os.setpgid(0, 0)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody else would stop it in time
        Path("/proc/self/oom_score_adj").write_text("1000")  # rather this one than the worker
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core holds the patient's data
        warnings.simplefilter("ignore")
        os.lseek(letter, 0, os.SEEK_SET)
        with os.fdopen(letter, "rb", closefd=False) as file:
            reading: Reading = pickle.load(file)
        answer = json.dumps(_answer(reading, voxels)).encode()
        os.ftruncate(letter, 0)
        os.pwrite(letter, answer, 0)
        code = 0
    finally:
        os._exit(code)  # nothing of the server's may be flushed or closed twice


def _answer(reading: Reading, voxels: int) -> dict[str, object]:
    notes: list[str] = []
    try:
        _limit(reading, 0)
        _limit(reading, reading.decoded_bytes())
        volume = reading.read(note=notes.append)
        content = np.ascontiguousarray(volume.voxels)
        with os.fdopen(voxels, "wb", closefd=False) as file:
            file.write(content.data)
    except BaseException as error:
        fault = as_volume_error(error)
        return {"error": [fault.code, fault.reason, fault.remedy]}
    return {
        "shape": content.shape,
        "dtype": content.dtype.name,
        "affine": volume.affine.ravel().tolist(),
        "notes": notes,
    }


def _limit(reading: Reading, decoded_bytes: int) -> None:
    """Let this process grow by what voxels of that size may take, and no more."""
    own_pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = own_pages * os.sysconf("SC_PAGE_SIZE") + reading.allowance_bytes(decoded_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
