"""Measure the facts of one node, as plain values."""

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
"""Duration of the speed test of the store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuStatus:
    """One GPU, as reported by the driver and as used by torch."""

    name: str
    celsius: str
    uncorrected: str
    """ECC errors since the driver was loaded; a text if the card has no ECC."""
    computes: str
    """Error of a matrix product on it; empty if the product was correct."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """The facts of one node."""

    node: str
    versions: dict[str, str]
    gpus: tuple[GpuStatus, ...] = ()
    gpu_trouble: str = ""
    """Why no GPU is usable on a node that has some according to Ray."""
    num_promised: int = 0
    """GPUs that Ray assigns on this node."""
    shared_mib: int = 0
    files: int = 0
    """Limit of open files per process; negative if unlimited."""
    free_mib: dict[str, int] = field(default_factory=dict)
    """Free disk space, by folder."""
    ahead_s: float = 0.0
    """Difference of its clock to that of the calling machine."""
    clock_error_s: float = 0.0
    """Error bound of the difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSpeed:
    """The result of reading a store on one node."""

    trouble: str = ""
    num_volumes: int = 0
    slices_per_s: float = 0.0
    mib_per_s: float = 0.0
    """Throughput of decoded slices with their masks."""


def probe_node(node: str, storage: Path | None, num_promised: int) -> NodeFacts:
    """Measure the facts of this machine, without changing anything."""
    gpus, driver, trouble = local_gpus()
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
    """Return the versions of Python, of packages that must be equal on all nodes, of CUDA, and of
    this project's source."""
    import torch

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = NONE
    return found | {"cuda": torch.version.cuda or "none (CPU build)", SOURCES: source_hash()}


def source_hash() -> str:
    """Return eight hexadecimal digits of the hash of the project's code."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for package in ("mrct", "data_prep", "cyclegan", "tune", "cluster"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def local_gpus() -> tuple[tuple[GpuStatus, ...], str, str]:
    """Return the GPUs, the driver's version ("none" without a driver), and why GPUs are not
    usable."""
    import torch

    if shutil.which("nvidia-smi") is None:
        return (), "none", "no nvidia-smi: the driver is not installed, or not in this container"
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(
            query, capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (subprocess.SubprocessError, OSError) as error:
        return (), "none", f"nvidia-smi failed ({type(error).__name__})"
    rows = [[cell.strip() for cell in row.split(",")] for row in output.strip().splitlines()]
    if not torch.cuda.is_available():
        return (), rows[0][1], f"the driver shows {len(rows)} GPUs, but torch cannot use any"
    gpus = [
        GpuStatus(name=name, celsius=celsius, uncorrected=errors, computes=gpu_error(index))
        for index, (name, _, celsius, errors) in enumerate(rows[: torch.cuda.device_count()])
    ]
    return tuple(gpus), rows[0][1], ""


def gpu_error(index: int) -> str:
    """Multiply matrices on a GPU; return an error message, or an empty string if the product is
    right."""
    import torch

    try:
        matrix = torch.eye(1024, device=f"cuda:{index}") * 3
        return "" if bool((matrix @ matrix == matrix * 3).all()) else "a matrix product was wrong"
    except RuntimeError as error:
        return str(error).splitlines()[0]


def size_mib(folder: Path) -> int:
    """Return the size of the file system of a folder in MiB; 0 if there is none."""
    return shutil.disk_usage(folder).total // MIB if folder.is_dir() else 0


def free_mib(folder: Path) -> int:
    """Return the free space in MiB of the file system of a folder, which need not exist yet."""
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free // MIB


def read_store(path: StoragePath, seed: int) -> ReadSpeed:
    """Open a store, verify every byte of one volume, and read slices for a second."""
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
        return ReadSpeed(trouble=str(error))
    slice_mib = 3 * store.size[0] * store.size[1] / MIB
    return ReadSpeed(
        num_volumes=len(store.volumes),
        slices_per_s=count / spent,
        mib_per_s=count * slice_mib / spent,
    )


def write_marker(folder: Path, node: str) -> str:
    """Write a file of this node into a shared folder; return an error message, or an empty
    string."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / node
        with path.open("w") as file:
            file.write(node)
            os.fsync(file.fileno())
    except OSError as error:
        return f"{error.strerror} ({folder.parent})"
    return ""


def missing_markers(folder: Path, nodes: list[str]) -> list[str]:
    """Return the nodes whose file is missing or has the wrong content."""

    def has_marker(node: str) -> bool:
        try:
            return (folder / node).read_text() == node
        except OSError:
            return False

    return [node for node in nodes if not has_marker(node)]


def remove_markers(folder: Path) -> None:
    """Remove the files of the nodes, if any were written."""
    shutil.rmtree(folder, ignore_errors=True)
