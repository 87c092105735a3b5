"""Writes files and folders atomically: they are either complete or absent."""

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

PARTIAL = ".partial-"
"""Prefix of unfinished files and folders, by which leftovers are recognised."""
_REPLACED = f"{PARTIAL}replaced-"
"""Prefix of a finished folder while another takes its name."""
_RANDOM = "[0-9a-f]" * 8
OWNER = ".owner"
"""File in an unfinished folder, locked by the process that writes the folder."""
ABANDONED_AFTER_S = 3600.0
"""Age from which an unfinished file, or a folder that nobody could lock, counts as abandoned."""
_STARTING_S = 60.0
"""Time that a process has to lock the folder that it has made."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def partial_path(path: Path) -> Path:
    """Return a new path beside `path` for its unfinished version."""
    return _hidden(path, PARTIAL)


def _hidden(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{secrets.token_hex(4)}-{path.name}")


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file by a synced temporary file and a rename; a reader never sees a partial file."""
    partial = partial_path(path)
    try:
        _write_synced(partial, content, mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file as `write_atomic` does; of several processes that do, exactly one succeeds.

    Raises:
        FileExistsError: The file exists; it is left as it is.
    """
    partial = partial_path(path)
    try:
        _write_synced(partial, content, mode)
        try:
            os.link(partial, path)  # unlike a rename, it replaces nothing
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with path.open("xb"):  # takes the name; of several processes one succeeds
                pass
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder atomically; the names of `files` are relative to it.

    Raises OSError (ENOSPC) before the first byte if they do not fit.
    """
    if shutil.disk_usage(folder.parent).free < sum(map(len, files.values())):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))
    partial = partial_path(folder)
    try:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _write_synced(partial / name, content)
        for inner in {(partial / name).parent for name in files} | {partial}:
            sync_folder(inner)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path, *, replace: bool = True, mode: int = 0o777) -> Iterator[Path]:
    """Yield a hidden folder to fill, which becomes `folder` when the block ends.

    An existing `folder` is replaced then; it stays if the block raises or the process dies. Files
    must lie in the folder or one level below. `mode` is that of the folder, before the umask.

    Raises:
        FileExistsError: `folder` exists at the end of the block, and `replace` is false.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(folder)
    partial.mkdir(mode)
    try:
        with (partial / OWNER).open("w") as owner:
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(owner, fcntl.LOCK_EX)
            yield partial
            (partial / OWNER).unlink()
            inner = [path for path in partial.iterdir() if path.is_dir()]
            for each in [*inner, partial]:
                for path in each.iterdir():
                    with path.open("rb") if path.is_file() else nullcontext() as file:
                        if file:
                            os.fsync(file.fileno())
                sync_folder(each)
            if replace:
                replace_folder(partial, folder)
            else:
                _rename_new(partial, folder)
                sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left unfinished in a folder, but nothing that is being written.

    A finished folder that a killed process was replacing has its name again then.

    Args:
        folder: Folder of results; it need not exist.
        name: Glob pattern of the final names.
    """
    restore_replaced(folder, name)
    for litter in folder.glob(f"{PARTIAL}{_RANDOM}-{name}"):
        with suppress(OSError):  # another process has just removed it
            if not _is_abandoned(litter):
                continue
            if litter.is_dir() and not litter.is_symlink():
                shutil.rmtree(litter)
            else:
                litter.unlink()


def _is_abandoned(partial: Path) -> bool:
    """Return whether the process has ended that was writing an unfinished file or folder."""
    age_s = time.time() - partial.lstat().st_mtime
    try:
        with (partial / OWNER).open("r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no folder, or one that could not be locked
        return age_s > ABANDONED_AFTER_S
    return age_s > _STARTING_S


def restore_replaced(folder: Path, name: str = "*") -> None:
    """Give finished folders their names again that killed processes were replacing.

    Those that have a successor are deleted. A process that is replacing one at this moment notices.

    Args:
        folder: Folder of results; it need not exist.
        name: Glob pattern of the final names.
    """
    for old in folder.glob(f"{_REPLACED}{_RANDOM}-{name}"):
        final = old.with_name(old.name.removeprefix(_REPLACED).partition("-")[2])
        with suppress(OSError):  # refused if it has a successor: no rename replaces a full folder
            old.rename(final)
        if final.exists():
            _delete_replaced(old, final)


def replace_folder(partial: Path, folder: Path) -> None:
    """Rename a finished folder to its final name, and delete the previous one.

    If the process is killed in between, `restore_replaced` puts the previous one back. Of several
    processes that do this at once, the last one replaces the folders of the others.
    """
    while True:
        old = _hidden(folder, _REPLACED)
        with suppress(FileNotFoundError):
            folder.rename(old)  # a folder can only be renamed over an empty one
        try:
            _rename_new(partial, folder)
        except FileExistsError:  # another process has published its own in between
            _delete_replaced(old, folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        else:
            sync_folder(folder.parent)
            _delete_replaced(old, folder)
            return


def _delete_replaced(old: Path, folder: Path) -> None:
    """Delete a folder that has a successor; once it is incomplete, its name restores it no more."""
    doomed = partial_path(folder)
    with suppress(OSError):  # there was none, or another process has restored or deleted it
        old.rename(doomed)
        shutil.rmtree(doomed)


def _rename_new(partial: Path, folder: Path) -> None:
    """Rename a finished folder to its final name; raises FileExistsError if it is in use."""
    try:
        partial.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(folder) from error
        raise


def remove_folder(folder: Path) -> None:
    """Delete a folder; if the process is killed, no partial folder remains under its name."""
    doomed = partial_path(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _write_synced(path: Path, content: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
