"""What one node is like: measured there, told as plain values. It judges nothing."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mrct.errors import UserError
from mrct.storage.paths import StoragePath

PACKAGES = ("torch", "ray", "nvidia-dali-cuda130", "zarr", "tensorstore", "monai")
SOURCES = "this project"
DRIVER = "driver"
NONE = "not installed"
SHARED_MEMORY = Path("/dev/shm")
GPU_FIELDS = ("name", "driver_version", "temperature.gpu", "ecc.errors.uncorrected.volatile.total")
MIB = 2**20
READ_S = 1.0
"""How long the store is read for its speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU, as the driver tells of it and as torch could use it."""

    name: str
    celsius: str
    uncorrected: str
    """ECC errors since the driver came up; a word where the card has no ECC."""
    computes: str
    """What was wrong with a product of two matrices on it; empty if it was right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What one node told."""

    node: str
    versions: dict[str, str]
    gpus: tuple[Gpu, ...] = ()
    gpu_trouble: str = ""
    """Why the driver or torch cannot tell of any GPU, where the node says that it has some."""
    num_promised: int = 0
    """GPUs that Ray gives out on this node."""
    shared_mib: int = 0
    files: int = 0
    """Open files that a process may have at most."""
    free_mib: dict[str, int] = field(default_factory=dict)
    """Free disk, by folder."""
    ahead_s: float = 0.0
    """Its clock against the asking machine's."""
    clock_error_s: float = 0.0
    """How wrong that may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a store is read on one node."""

    trouble: str = ""
    num_volumes: int = 0
    slices_per_s: float = 0.0
    mib_per_s: float = 0.0
    """Of decoded slices with their masks."""


def look(node: str, storage: Path | None, num_promised: int) -> NodeFacts:
    """Look at the machine that this runs on; changes nothing."""
    gpus, driver, trouble = gpus_here()
    folders = [Path(tempfile.gettempdir()), *([storage] if storage else [])]
    return NodeFacts(
        node=node,
        versions=versions() | {DRIVER: driver},
        gpus=gpus,
        gpu_trouble=trouble,
        num_promised=num_promised,
        shared_mib=size_mib(SHARED_MEMORY),
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        free_mib={str(folder): free_mib(folder) for folder in folders},
    )


def versions() -> dict[str, str]:
    """Of Python, the packages that must be equal everywhere, CUDA, and this project's source."""
    import torch

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = NONE
    return found | {"cuda": torch.version.cuda or "none (CPU build)", SOURCES: source_hash()}


def source_hash() -> str:
    """Eight characters that change with any line of the project's code."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for package in ("mrct", "data_prep", "cyclegan", "tune", "cluster"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def gpus_here() -> tuple[tuple[Gpu, ...], str, str]:
    """The GPUs, the driver's version ("none" without), and what keeps them from being told of."""
    import torch

    if shutil.which("nvidia-smi") is None:
        return (), "none", "no nvidia-smi: the driver is not installed, or not in this container"
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
    except (subprocess.SubprocessError, OSError) as error:
        return (), "none", f"nvidia-smi failed ({type(error).__name__})"
    rows = [[cell.strip() for cell in row.split(",")] for row in told.strip().splitlines()]
    if not torch.cuda.is_available():
        return (), rows[0][1], f"the driver shows {len(rows)} GPUs, but torch cannot use any"
    gpus = [
        Gpu(name=name, celsius=celsius, uncorrected=errors, computes=trouble_of(index))
        for index, (name, _, celsius, errors) in enumerate(rows[: torch.cuda.device_count()])
    ]
    return tuple(gpus), rows[0][1], ""


def trouble_of(index: int) -> str:
    """Multiply on a GPU, and compare with what must come out; empty if it does."""
    import torch

    try:
        matrix = torch.eye(1024, device=f"cuda:{index}") * 3
        return "" if bool((matrix @ matrix == matrix * 3).all()) else "a product came out wrong"
    except RuntimeError as error:
        return str(error).splitlines()[0]


def size_mib(folder: Path) -> int:
    """The size of the file system of a folder; 0 where there is none."""
    return shutil.disk_usage(folder).total // MIB if folder.is_dir() else 0


def free_mib(folder: Path) -> int:
    """Free space where a folder is, or will be."""
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free // MIB


def read_store(path: StoragePath, seed: int) -> Reading:
    """Open a store, verify one of its volumes to the last byte, and read slices for a second."""
    import numpy as np

    from cyclegan.data.reader import SliceReader, SliceRef
    from data_prep.store.store import open_store

    try:
        store = open_store(path)
        random = np.random.default_rng(seed)
        volumes = [store.volumes[int(i)] for i in random.integers(len(store.volumes), size=16)]
        store.verify(volumes[0], full=True)
        reader, count, started = SliceReader(store, cache_bytes=0), 0, time.monotonic()
        while (spent := time.monotonic() - started) < READ_S:
            refs = [SliceRef(v, int(random.integers(len(v.height)))) for v in volumes]
            reader.start(refs).whole()
            count += len(refs)
    except (UserError, OSError, ValueError) as error:
        return Reading(trouble=str(error))
    slice_mib = 3 * store.size[0] * store.size[1] / MIB
    return Reading(
        num_volumes=len(store.volumes),
        slices_per_s=count / spent,
        mib_per_s=count * slice_mib / spent,
    )


def write_word(folder: Path, node: str) -> str:
    """Leave a file of this node in a folder that all share; returns what went wrong."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / node
        with path.open("w") as file:
            file.write(node)
            os.fsync(file.fileno())
    except OSError as error:
        return f"{error.strerror} ({folder.parent})"
    return ""


def missing_words(folder: Path, nodes: list[str]) -> list[str]:
    """The nodes whose file is not there, or not what they wrote."""

    def told(node: str) -> bool:
        try:
            return (folder / node).read_text() == node
        except OSError:
            return False

    return [node for node in nodes if not told(node)]


def sweep(folder: Path) -> None:
    """Take away what the nodes left; where they could not write there is nothing."""
    shutil.rmtree(folder, ignore_errors=True)
