"""Locks that admit one writer at a time and record its host and process.

A local lock is a file lock of the system, which is released when its process ends. An object store
has no locks: every writer puts an object, lists those of others, and removes its own if there is
another. An object without a heartbeat for STALE_S is removed by the next writer.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mrct.errors import UserError
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath

HEARTBEAT_S = 20.0
"""Time between two heartbeats."""
MOMENT_S = 5.0
"""Time for which a child of a dead process may still hold its local lock."""
STALE_S = 120.0
"""After this time without a heartbeat, the process of another machine is taken to be dead."""


@contextmanager
def exclusive_lock(path: StoragePath, otherwise: UserError) -> Iterator[None]:
    """Hold the lock at `path`, or raise `otherwise` at once, with its holder and start time."""
    local = path.local
    with _file_lock(local, otherwise) if local else _flag(path, otherwise):
        yield


@contextmanager
def wait_for_lock(path: StoragePath) -> Iterator[None]:
    """Wait for a local lock and hold it during the block, which must be short.

    On an object store there is no lock: a commit record is a conditional put.
    """
    if path.local is None:
        yield
        return
    with path.local.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _file_lock(path: Path, otherwise: UserError) -> Iterator[None]:
    with _locked(path, otherwise) as lock:
        lock.truncate(0)
        lock.write(_owner())
        lock.flush()
        with _heartbeat(lambda: os.utime(path)):
            yield
        lock.truncate(0)


def _locked(path: Path, otherwise: UserError) -> IO[str]:
    """Open the file of a lock, in a folder that is made if necessary, and lock it."""
    until = time.monotonic() + MOMENT_S
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            try:
                lock = opened.enter_context(path.open("a+"))
            except FileNotFoundError:  # its last holder has just removed the folder
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                owner = lock.read()
                if not _is_dead(owner) or time.monotonic() > until:
                    age_s = datetime.now().timestamp() - os.fstat(lock.fileno()).st_mtime
                    raise _held(otherwise, owner, age_s) from error
                time.sleep(0.05)
                continue
            # Its last holder may have removed it with a folder that holds nothing else.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    opened.pop_all()
                    return lock


@contextmanager
def _flag(folder: StoragePath, otherwise: UserError) -> Iterator[None]:
    own, owner = folder / f"{secrets.token_hex(8)}.json", _owner()
    own.put(owner.encode())
    try:
        # First put, then list: of two concurrent writers at least one sees the other.
        for other in (folder / name for name in folder.names() if name != own.name):
            try:
                # Both times are from the object store, so that local clocks do not matter.
                age_s = (own.modified() - other.modified()).total_seconds()
                text = other.read_text()
            except FileNotFoundError:  # removed in the meantime
                continue
            if age_s < STALE_S and not _is_dead(text):
                raise _held(otherwise, text, age_s)
            other.remove()
        with _heartbeat(lambda: own.put(owner.encode())):
            yield
    finally:
        own.remove()


@contextmanager
def _heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` every BEAT_S seconds until the block ends."""
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(HEARTBEAT_S):
            try:
                beat()
            except OSError:
                continue  # an outage; the next beat may succeed

    thread = threading.Thread(target=keep_beating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _owner() -> str:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since})


def _is_dead(text: str) -> bool:
    """Return whether the owner was a process of this machine that has ended."""
    try:
        owner = parse_json(text)
        if owner["host"] != socket.gethostname():
            return False
        os.kill(owner["pid"], 0)
    except (ValueError, KeyError, ProcessLookupError):
        return True
    except PermissionError:
        return False
    return False


def _held(otherwise: UserError, text: str, age_s: float) -> UserError:
    try:
        owner = parse_json(text)
        who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError):  # the owner has not yet written its record
        who = "a process that has just started"
    return type(otherwise)(f"{otherwise} (Held by {who}, last heartbeat {age_s:.0f} s ago.)")
