"""Writing the store: one volume is one atomic commit, the index follows from the commits."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from data_prep.atomic import PARTIAL, partial_path, sync_folder, write_atomic
from data_prep.errors import OtherStoreError, StoreError
from data_prep.harmonise import HarmonisedVolume
from data_prep.lock import exclusive
from data_prep.split import Split
from data_prep.store import (
    ATTRIBUTE,
    BODY,
    IMAGE,
    SCHEMA,
    StoredVolume,
    commit_path,
    read_root,
    seal,
    sha256_of,
    unseal,
)
from data_prep.volume import Grid, Modality, spacing_of

_OME_VERSION = "0.5"
_ROOT_FOLDERS = ("mri", "ct", "commits")
_AXES = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedVolume:
    """A volume on the store's grid, ready to be written."""

    modality: Modality
    pseudonym: str
    subject: str
    """The subject's pseudonym."""
    split: Split
    link: str | None
    """Name (`ct/<pseudonym>`) of the aligned volume of the other modality."""
    harmonised: HarmonisedVolume
    source_sha256: str
    notes: tuple[str, ...] = ()
    """What was put right or could not be checked, a sentence each, without patient text."""

    @property
    def name(self) -> str:
        """The volume's group inside the store."""
        return f"{self.modality}/{self.pseudonym}"

    @property
    def grid(self) -> Grid:
        """Where the stored voxels lie."""
        return self.harmonised.grid


def create_store(
    path: Path,
    *,
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int],
    settings: Mapping[str, Any],
    key_check: str = "",
) -> str:
    """Make the empty store, or find the one that is there; returns its fingerprint.

    `spacing_mm` is (z, y, x), `size` is (Y, X), `settings` whatever else decides the voxels.
    Raises StoreError where a store with another preprocessing or of another key lies there:
    volumes of two kinds must not mix, nor one volume get two names.
    """
    wanted = {"schema": SCHEMA, "spacing_mm": list(spacing_mm), "size": list(size)}
    wanted |= {"settings": json.loads(json.dumps(dict(settings)))}  # as it will be read back
    fingerprint = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    # A conversion killed at its start leaves a part of our own names, and nothing else.
    if path.exists() and any(thing.name not in _ROOT_FOLDERS for thing in path.iterdir()):
        root = read_root(path)
        _refuse_other(path, root, wanted | {"fingerprint": fingerprint})
        if root["key_check"] != key_check:
            raise OtherStoreError(
                f"The pseudonyms in {path} were made with another key: with this one every volume "
                "would get a second name, and a subject could be in two splits. Give the store's "
                "own key (--key-file), or convert into a new --out."
            )
        return fingerprint
    for name in _ROOT_FOLDERS:
        (path / name).mkdir(parents=True, exist_ok=True)
    for modality in ("mri", "ct"):
        write_atomic(path / modality / "zarr.json", _group({}))
    root = wanted | {"fingerprint": fingerprint, "key_check": key_check}
    # Last: only now do the folders make a store.
    write_atomic(path / "zarr.json", _group({ATTRIBUTE: root}))
    return fingerprint


def _refuse_other(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if found["fingerprint"] == wanted["fingerprint"]:
        return
    found, wanted = found | found["settings"], wanted | wanted["settings"]
    names = sorted((found.keys() | wanted.keys()) - {"fingerprint", "settings"})
    differences = [
        f"  {name}: store {found.get(name)}, asked for {wanted.get(name)}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    raise OtherStoreError(
        f"The store {path} was made with another preprocessing:\n" + "\n".join(differences) + "\n"
        "Volumes of both kinds in one store would teach the difference between them. "
        "Convert with the store's own settings, or give a new --out."
    )


@contextmanager
def writing(path: Path) -> Iterator[int]:
    """Hold the store's lock, and sweep first what killed writers left; yields how many things."""
    busy = StoreError(
        f"Another conversion is writing to {path}: two would undo each other. "
        "Wait for it to end, or give another --out."
    )
    with exclusive(path / ".lock", busy):
        yield _sweep(path)


def _sweep(path: Path) -> int:
    litter = list(path.glob(f"**/{PARTIAL}*")) + [
        folder
        for modality in ("mri", "ct")
        for folder in (path / modality).iterdir()
        if folder.is_dir() and not commit_path(path, f"{modality}/{folder.name}").exists()
    ]
    for thing in litter:
        shutil.rmtree(thing) if thing.is_dir() else thing.unlink(missing_ok=True)
    return len(litter)


def write_volume(store_path: Path, prepared: PreparedVolume) -> StoredVolume:
    """Write and commit one volume: a temporary folder, synced, renamed, then the commit record.

    Killed anywhere before the record, the volume does not exist and is made again. A volume that
    is already there is replaced.
    """
    stored = _describe(prepared)
    root = read_root(store_path)
    assert prepared.grid.shape[1:] == tuple(root["size"]), "not on the store's grid"
    facts = stored.to_json() | {
        "source_sha256": prepared.source_sha256,
        "fingerprint": root["fingerprint"],
    }
    folder, record = store_path / stored.name, commit_path(store_path, stored.name)
    partial = partial_path(store_path / prepared.pseudonym)
    try:
        _write_groups(partial, stored, facts)
        _write_array(partial / IMAGE, prepared.harmonised.voxels)
        _write_array(partial / BODY, prepared.harmonised.body.astype(np.uint8))
        files = _sync_and_hash(partial)
        record.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(folder.parent)
    commit = {
        "schema": SCHEMA,
        "volume": stored.to_json(),
        "source_sha256": prepared.source_sha256,
        "fingerprint": root["fingerprint"],
        "files": files,
        "notes": list(prepared.notes),
    }
    write_atomic(record, seal(commit))
    return stored


def rebuild_index(store_path: Path) -> None:
    """Write `index.json` from the commit records, sorted by volume name."""
    records = [unseal(path) for path in sorted((store_path / "commits").glob("*.json"))]
    volumes = sorted((record["volume"] for record in records), key=lambda volume: volume["name"])
    write_atomic(store_path / "index.json", seal({"schema": SCHEMA, "volumes": volumes}))


def frozen_splits(store_path: Path) -> dict[str, Split]:
    """The splits of the subjects that are committed already; none where there is no store."""
    records = (unseal(path) for path in (store_path / "commits").glob("*.json"))
    return {record["volume"]["subject"]: record["volume"]["split"] for record in records}


def _describe(prepared: PreparedVolume) -> StoredVolume:
    harmonised = prepared.harmonised
    z = harmonised.grid.shape[0]
    fraction = harmonised.body.mean(axis=(1, 2))
    holding = np.flatnonzero(fraction)
    lowest, highest = (holding[0], holding[-1]) if len(holding) else (0, z - 1)
    height = ((np.arange(z) - lowest) / max(1, highest - lowest)).clip(0, 1)
    return StoredVolume(
        name=prepared.name,
        modality=prepared.modality,
        subject=prepared.subject,
        split=prepared.split,
        link=prepared.link,
        shape=harmonised.grid.shape,
        affine=harmonised.affine,
        window=harmonised.window,
        scale=harmonised.scale,
        body_fraction=tuple(fraction.round(4).tolist()),
        height=tuple(height.round(4).tolist()),
        source_shape=harmonised.source.shape,
        source_affine=harmonised.source.affine,
    )


def _write_groups(folder: Path, stored: StoredVolume, facts: dict[str, Any]) -> None:
    """The OME-Zarr 0.5 groups of an image and its label image; the affine stands beside them."""
    scale = {"type": "scale", "scale": list(spacing_of(stored.affine))}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    image = {
        "version": _OME_VERSION,
        "multiscales": [{"name": stored.modality, "axes": _AXES, "datasets": [dataset]}],
    }
    label = image | {"image-label": {"source": {"image": "../../"}}}
    labels = {"version": _OME_VERSION, "labels": ["body"]}
    for group, attributes in {
        folder: {"ome": image, ATTRIBUTE: facts},
        folder / "labels": {"ome": labels},
        folder / "labels/body": {"ome": label},
    }.items():
        group.mkdir()
        (group / "zarr.json").write_bytes(_group(attributes))


def _group(attributes: dict[str, Any]) -> bytes:
    """The `zarr.json` of a Zarr v3 group."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(group, indent=1).encode()


def encoded_bytes(harmonised: HarmonisedVolume) -> int:
    """How many bytes a volume's image and mask take in a store; nothing is written for it."""
    size_bytes = 0
    for voxels in (harmonised.voxels, harmonised.body.astype(np.uint8)):
        memory: dict[str, Any] = {}
        _write_array(MemoryStore(memory), voxels)
        size_bytes += sum(len(value) for value in memory.values())
    return size_bytes


def _write_array(place: Path | MemoryStore, voxels: NDArray[Any]) -> None:
    """One shard for the whole array [z, y, x], a chunk per slice, a checksum per chunk."""
    array = zarr.create_array(
        place,
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=(1, *voxels.shape[1:]),
        shards=voxels.shape,
        compressors=[
            BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=voxels.dtype.itemsize),
            Crc32cCodec(),
        ],
        fill_value=0,
        dimension_names=("z", "y", "x"),
        # Without it a slice of zeros is left out and looks like a lost one.
        config={"write_empty_chunks": True},
    )
    array[:] = voxels


def _sync_and_hash(folder: Path) -> dict[str, dict[str, Any]]:
    files = {}
    for path in sorted(folder.rglob("*")):
        sync_folder(path)  # a file's descriptor syncs the same way
        if path.is_file():
            name = str(path.relative_to(folder))
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    sync_folder(folder)
    return files
