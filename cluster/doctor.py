"""Whether this machine is fit to train: versions, shared memory, the store. It changes nothing."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from data_prep.errors import StoreError, UsageError
from data_prep.place import Place, place
from data_prep.store import open_store

PACKAGES = ("torch", "ray", "nvidia-dali-cuda130", "zarr", "tensorstore")
SHARED_MEMORY = Path("/dev/shm")
MIN_SHARED_MEMORY_GIB = 1.0
"""NCCL takes tens of MiB for each pair of GPUs of a machine, Ray its objects in flight; Docker's
64 MiB end in a bus error in the middle of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    well: bool
    found: str
    remedy: str = ""


def examine(store: Place | None, shared_memory: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Look at this machine. Without a store, none is looked at."""
    yield Finding(
        what="python",
        well=sys.version_info >= (3, 11),
        found=".".join(map(str, sys.version_info[:3])),
        remedy="install Python 3.11 and make the environment again: make env",
    )
    for package in PACKAGES:
        yield package_finding(package)
    yield shared_memory_finding(shared_memory)
    if store is not None:
        yield store_finding(store)


def package_finding(package: str) -> Finding:
    """Is it installed, and which version?"""
    try:
        return Finding(what=package, well=True, found=version(package))
    except PackageNotFoundError:
        return Finding(what=package, well=False, found="not installed", remedy="make env")


def shared_memory_finding(folder: Path) -> Finding:
    """Is there enough memory for processes to share?"""
    remedy = "docker run --shm-size=8g, or enlarge the tmpfs"
    if not folder.is_dir():
        return Finding(what=str(folder), well=False, found="missing", remedy=remedy)
    size_gib = shutil.disk_usage(folder).total / 2**30
    return Finding(
        what=str(folder),
        well=size_gib >= MIN_SHARED_MEMORY_GIB,
        found=f"{size_gib:.2f} GiB, wanted {MIN_SHARED_MEMORY_GIB:g}",
        remedy=remedy,
    )


def store_finding(path: Place) -> Finding:
    """Does it open, and is one of its volumes whole?"""
    try:
        store = open_store(path)
        for volume in store.volumes[:1]:
            store.verify(volume, full=True)
    except (StoreError, UsageError, OSError) as error:
        return Finding(
            what="store",
            well=False,
            found=str(error),
            remedy=f"python -m data_prep check {path} --full",
        )
    return Finding(
        what="store", well=True, found=f"{len(store.volumes)} volumes, the first one verified"
    )


def store_from_environment() -> Place | None:
    """The store that training would take without `--data.store`."""
    path = os.environ.get("CYCLEGAN_STORE")
    return place(path) if path else None


def table(findings: list[Finding]) -> Table:
    """What is not well first, with its remedy."""
    result = Table("", "what", "found", "remedy", box=SIMPLE)
    for finding in sorted(findings, key=lambda finding: finding.well):
        mark, remedy = ("ok", "") if finding.well else ("[red]BAD[/red]", finding.remedy)
        result.add_row(mark, finding.what, finding.found, remedy)
    return result
