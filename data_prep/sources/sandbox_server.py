"""python -m data_prep.sources.sandbox_server FD: forks a child for each file to decode.

`sandbox.py` starts it. It has one thread and all readers loaded, so that a fork is cheap and
safe. It ends with the worker at the other end of the socket, and kills its child.
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

import numpy.ma

import data_prep.dicom.reader
import data_prep.readers.formats
import data_prep.readers.pixel_codecs
from data_prep.sources.sandbox import REPLY, REQUEST, ReadRequest
from mrct.errors import as_volume_error

LOADED = (numpy.ma, data_prep.dicom.reader, data_prep.readers.formats)
"""What children need, loaded once, here, for all of them; `np.median` would import the first."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(line: socket.socket) -> None:
    """Handle requests until the worker closes the socket."""
    data_prep.readers.pixel_codecs.load()
    gc.freeze()  # children share these pages and never collect them
    while True:
        request, descriptors, _, _ = socket.recv_fds(line, REQUEST.size, maxfds=2)
        if len(request) < REQUEST.size:
            return
        (timeout_s,) = REQUEST.unpack(request)
        child = os.fork()
        if child == 0:
            line.close()
            _run_child(*descriptors)
        os.setpgid(child, child)
        for descriptor in descriptors:
            os.close(descriptor)
        has_ended, is_wanted = _wait(child, line, timeout_s)
        os.killpg(child, signal.SIGKILL)  # also kills processes that the child started
        _, status = os.waitpid(child, 0)
        if not is_wanted:
            return
        line.sendall(REPLY.pack(not has_ended, os.waitstatus_to_exitcode(status)))


def _wait(child: int, line: socket.socket, timeout_s: float) -> tuple[bool, bool]:
    """Return whether the child ended by itself, and whether the worker still waits for it."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(line, select.POLLIN)  # the worker sends nothing now: readable means closed
    ready = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000)}
    os.close(handle)
    return handle in ready, line.fileno() not in ready


def _run_child(request: int, voxels: int) -> None:
    """Handle one request, write the response to the shared buffer, exit."""
    code = 1
    try:
        os.setpgid(0, 0)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed server could not stop it
        Path("/proc/self/oom_score_adj").write_text("1000")  # killed before the worker
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump contains patient data
        warnings.simplefilter("ignore")
        os.lseek(request, 0, os.SEEK_SET)
        with os.fdopen(request, "rb", closefd=False) as file:
            reading: ReadRequest = pickle.load(file)
        answer = json.dumps(_answer(reading, voxels)).encode()
        os.ftruncate(request, 0)
        os.pwrite(request, answer, 0)
        code = 0
    finally:
        os._exit(code)  # skips cleanup, so that nothing of the server is flushed or closed twice


def _answer(reading: ReadRequest, voxels: int) -> dict[str, object]:
    notes: list[str] = []
    try:
        _limit(reading, 0)
        _limit(reading, reading.decoded_bytes())
        volume = reading.read(note=notes.append)
        content = numpy.ascontiguousarray(volume.voxels)
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


def _limit(reading: ReadRequest, decoded_bytes: int) -> None:
    """Limit the growth of this process to the allowance for voxels of this size."""
    own_pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = own_pages * os.sysconf("SC_PAGE_SIZE") + reading.allowance_bytes(decoded_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)  # of `ulimit -v`, which cannot be raised
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
