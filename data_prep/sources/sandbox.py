"""Reads untrusted files in a child process with a memory and a time limit.

A decoder that crashes, exhausts its memory or hangs costs one volume and not the worker. A server
(`sandbox_server.py`) is started once per worker and forks a fresh child for each volume. The
response is never unpickled: it is a short JSON text and the voxels in shared memory. It is not a
security boundary against code execution in a decoder: the child keeps the rights of its user.
"""

import atexit
import json
import mmap
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrct.errors import VolumeError
from mrct.host_limits import free_memory_bytes
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Note, Volume

REQUEST = struct.Struct("!d")
"""Time limit of the child in seconds; two file descriptors, request and voxels, accompany it."""
REPLY = struct.Struct("!?i")
"""Whether the child timed out, and its exit code, negative if a signal killed it."""
_FLOOR_BYTES = 512 << 20
_BYTES_PER_DECODED = 10
"""Working memory: float64 intermediates, copies, masks. A DICOM series takes about 8."""
_REQUEST_BYTES = 1 << 20
_VOXEL_DTYPES = {name: np.dtype(name) for name in ("float32", "int16")}
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
"""Variables that the server takes over: a decoder needs no token and no credentials."""
_GRACE_S = 30.0
"""Extra time for the server to kill a child that timed out, and for a process to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRequest:
    """The task of a child; it is sent pickled."""

    read: Callable[..., Volume]
    """Returns the volume or raises VolumeError; called with `note` only."""
    decoded_bytes: Callable[[], int]
    """Returns the size of the voxels as float32 by the headers: it sets the memory limit."""
    modality: Modality
    pseudonym: str
    timeout_s: float = 600
    most_bytes: int = field(default_factory=free_memory_bytes)
    """Upper bound of the memory limit; by default what this process may still take."""

    def allowance_bytes(self, decoded_bytes: int) -> int:
        """Return the memory that the child may allocate for voxels of this size."""
        return min(self.most_bytes, _FLOOR_BYTES + _BYTES_PER_DECODED * decoded_bytes)


def read_in_sandbox(reading: ReadRequest, note: Note) -> Volume:
    """Return what `reading.read` returns, or raise what it raises, from a child process.

    Raises VolumeError also if the child died (`decoder-crashed`), exceeded its memory limit
    (`memory`) or its time limit (`timeout`).
    """
    request, voxels = os.memfd_create("request"), os.memfd_create("voxels")
    try:
        with os.fdopen(request, "wb", closefd=False) as file:
            pickle.dump(reading, file)
        _SERVER.run(request, voxels, reading.timeout_s)
        try:
            answer = json.loads(os.pread(request, _REQUEST_BYTES, 0))
            if "error" in answer:
                raise VolumeError(*map(str, answer["error"]))
            for text in answer["notes"]:
                note(str(text))
            return Volume(
                voxels=_mapped(voxels, answer["shape"], _VOXEL_DTYPES[answer["dtype"]]),
                affine=np.array(answer["affine"], np.float64).reshape(4, 4),
                modality=reading.modality,
                pseudonym=reading.pseudonym,
            )
        except (AssertionError, KeyError, TypeError, UnicodeError, json.JSONDecodeError) as error:
            raise _crashed("its response was invalid") from error
    finally:
        os.close(request)
        os.close(voxels)


def _mapped(voxels: int, shape: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map the child's voxels [z, y, x]; the memory lives as long as the array."""
    z, y, x = map(int, shape)
    size = os.fstat(voxels).st_size
    assert size == dtype.itemsize * z * y * x > 0, f"{size} bytes for {shape} {dtype}"
    return np.frombuffer(mmap.mmap(voxels, size), dtype).reshape(z, y, x)


class _Server:
    """The process that forks children, started on first use; it reads one volume at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._owner = 0

    def run(self, request: int, voxels: int, timeout_s: float) -> None:
        """Run a child; raises VolumeError if it crashed or timed out."""
        with self._lock:
            try:
                timed_out, exit_code = self._ask(request, voxels, timeout_s)
            except TimeoutError:
                self.stop()
                timed_out, exit_code = True, 0
            except OSError:
                self.stop()
                raise _crashed("its server was killed") from None
            except BaseException:  # a late response must not be taken for that of the next volume
                self.stop()
                raise
        if timed_out:
            raise VolumeError(
                "timeout",
                f"Decoding took longer than {timeout_s:.0f} s and was stopped.",
                "Check the file: it may have been crafted to keep a decoder busy. If the storage "
                "is slow, copy it to a local disk and run the same command again.",
            )
        if exit_code:
            raise _crashed(f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}")

    def stop(self) -> None:
        """Stop the server, which kills its child first."""
        if self._line:
            self._line.close()
        if self._process and self._owner == os.getpid():
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._line = None

    def _ask(self, request: int, voxels: int, timeout_s: float) -> tuple[bool, int]:
        if self._line is None or self._owner != os.getpid():
            self._start()
        assert self._line
        self._line.settimeout(timeout_s + _GRACE_S)
        socket.send_fds(self._line, [REQUEST.pack(timeout_s)], [request, voxels])
        reply = self._line.recv(REPLY.size, socket.MSG_WAITALL)
        if len(reply) < REPLY.size:
            raise ConnectionResetError
        return REPLY.unpack(reply)

    def _start(self) -> None:
        self._line, theirs = socket.socketpair()
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        # Own session: Ctrl-C reaches only the worker, and the closed socket then ends the server.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "data_prep.sources.sandbox_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=inherited | one_thread | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # codecs may print patient data in error messages
                start_new_session=True,
            )
        self._owner = os.getpid()


def _crashed(how: str) -> VolumeError:
    return VolumeError(
        "decoder-crashed",
        f"The process that decoded the file died ({how}): the file is damaged in a way that "
        "crashes the decoder, or memory ran out.",
        "Copy the file again from its source. If it fails again, leave it out.",
    )


_SERVER = _Server()
atexit.register(_SERVER.stop)
