"""Readers that do what a crafted file makes a decoder do, and a source that kills its worker."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.sources.source import Source
from mrct.imaging.volume import Note, Volume


def segfault(note: Note) -> Volume:
    """Die in C."""
    ctypes.string_at(0)
    raise AssertionError


def abort(note: Note) -> Volume:
    """Die by the C library's own hand."""
    os.abort()


def leave(note: Note) -> Volume:
    """Exit without a word."""
    os._exit(7)


def hoard(megabytes: int, note: Note) -> Volume:
    """Touch that much memory, and give a part of it back as a volume."""
    voxels = np.ones((megabytes, 512, 512), np.float32)
    return Volume(voxels=voxels[:1], affine=np.eye(4), modality="ct", pseudonym="p")


def dawdle(pids: Path, note: Note) -> Volume:
    """Never end, with a child of its own that does not either; tells both process ids."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pids.write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)
    raise AssertionError


def chatter(note: Note) -> Volume:
    """Print a patient's name as codecs print what they choke on, and crash in Python."""
    print("CANARY")
    print("CANARY", file=sys.stderr, flush=True)
    os.write(2, b"CANARY")
    raise RuntimeError("CANARY")


def kill_the_server(pid: Path, note: Note) -> Volume:
    """Take the process down that forked this one, and stay; tells its own process id."""
    pid.write_text(str(os.getpid()))
    os.kill(os.getppid(), 9)
    time.sleep(600)
    raise AssertionError


def tell(note: Note) -> Volume:
    """A small volume with notes."""
    note("first")
    note("second")
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(1, 0, 2)
    affine = np.diag([0.1, 2, 3, 1])
    return Volume(voxels=voxels, affine=affine, modality="ct", pseudonym="theirs")


def tell_environment(note: Note) -> Volume:
    """The names of the variables of the process that reads, as notes."""
    for name in os.environ:
        note(name)
    return tell(note)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadly(Source):
    """Kills the worker that reads it, as the OOM killer does, so many times; keeps a diary."""

    deaths: int
    diary: Path

    def read(self, note: Note) -> Volume:
        died = self.diary.read_text().count(self.pseudonym) if self.diary.exists() else 0
        with self.diary.open("a") as file:
            file.write(f"{self.pseudonym}\n")
        if died < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return Source.read(self, note)


HOSTILE_NAMES = (
    "",
    ".",
    "..",
    "/nowhere",
    "../",
    "../beside",
    "mri/",
    "mri/.",
    "mri/..",
    "mri//0123456789abcdef",
    "mri/../../beside",
    "mri/0123456789abcdef/../../../beside",
    "/nowhere/passwd",
    "..\\beside",
    "mri/0123456789abcdef\0",
)
"""Names that no file may make a command follow: out of a folder, or to more than one entry."""
