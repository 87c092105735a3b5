"""The contract of the Zarr store: its layout, what a stored volume carries, opening and checking.

    zarr.json                     root group: schema, spacing, size, preprocessing and fingerprint
    index.json                    every volume in brief, rebuilt from the commit records
    commits/<modality>-<p>.json   commit record: a volume exists once this does; written last
    <modality>/<p>/               OME-Zarr 0.5 image of one volume, p its pseudonym
        0                         int16 [z, y, x], chunks (1, Y, X), one shard
        labels/body/0             uint8 body mask, chunked alike

`write.py` fills it; networks and normalised values are unknown here.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from data_prep.errors import NoStoreError, StoreError, UsageError
from data_prep.intensity import Window
from data_prep.split import Split
from data_prep.volume import Affine, Modality

SCHEMA = 1
ATTRIBUTE = "mri_ct_store"
"""The root group's attribute that makes a Zarr group one of our stores."""
IMAGE, BODY = "0", "labels/body/0"
_CODECS = {"sharding_indexed", "bytes", "blosc", "crc32c"}
_DTYPES = {"int16", "uint8"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredVolume:
    """What the index knows of a volume: all but its voxels."""

    name: str
    """`mri/<pseudonym>` or `ct/<pseudonym>`: its group inside the store."""
    modality: Modality
    subject: str
    """The subject's pseudonym."""
    split: Split
    link: str | None
    """Name of the same subject's aligned volume of the other modality."""
    shape: tuple[int, int, int]
    """[z, y, x]."""
    affine: Affine
    """[4, 4], stored (x, y, z, 1) indices to RAS mm."""
    window: Window
    """The stored int16 values that `intensity.normalise` maps to -1 and 1; WINDOW_HU for CT."""
    scale: float
    """Stored value times this is the source's value; 1 for CT."""
    body_fraction: tuple[float, ...]
    """Per slice: voxels of the body over all voxels."""
    height: tuple[float, ...]
    """Per slice: 0 at the lowest and 1 at the highest slice that holds body, clipped beyond."""
    source_shape: tuple[int, int, int]
    """[z, y, x] of the file itself, before it was brought to the canonical axes."""
    source_affine: Affine

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        arrays = {"affine": self.affine.tolist(), "source_affine": self.source_affine.tolist()}
        return asdict(self) | arrays

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "StoredVolume":
        """The inverse of `to_json`; JSON's lists become tuples and affines."""
        tuples = ("shape", "window", "body_fraction", "height", "source_shape")
        arrays = ("affine", "source_affine")
        return cls(
            **values
            | {name: tuple(values[name]) for name in tuples}
            | {name: np.array(values[name], dtype=np.float64) for name in arrays}
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Store:
    """An open store: what its index says, and whole volumes on demand."""

    path: Path
    spacing_mm: tuple[float, float, float]
    """(z, y, x) of every volume."""
    size: tuple[int, int]
    """(Y, X) of every slice."""
    fingerprint: str
    """Hash of the preprocessing: stores may be compared or joined only where it is equal."""
    contents: str
    """Hash of the index: equal where the volumes and their splits are."""
    volumes: tuple[StoredVolume, ...] = field(repr=False)

    def select(self, modality: Modality, split: Split) -> tuple[StoredVolume, ...]:
        """The volumes of one domain and split, in the index's order (by name)."""
        return tuple(v for v in self.volumes if (v.modality, v.split) == (modality, split))

    def voxels(self, volume: StoredVolume) -> NDArray[np.int16]:
        """All voxels [z, y, x], in HU or stored MRI units, after `verify`."""
        return self._read(volume, IMAGE)

    def body(self, volume: StoredVolume) -> NDArray[np.uint8]:
        """The body mask [z, y, x], 0 or 1, after `verify`."""
        return self._read(volume, BODY)

    def _read(self, volume: StoredVolume, array: str) -> NDArray[Any]:
        self.verify(volume)
        path = self.path / volume.name / array
        try:
            return np.asarray(zarr.open_array(path, mode="r")[:])
        except (ValueError, RuntimeError) as error:  # checksum of a chunk, then of Blosc
            raise damaged(self.path, volume.name, path / "c/0/0/0", str(error)) from error

    def verify(self, volume: StoredVolume, full: bool = False) -> None:
        """Compare a volume's files with its commit record; raises StoreError naming the file.

        Number, names and sizes of all files and the hash of each `zarr.json`; with `full` the
        hash of the shards too.
        """
        record = read_commit(self.path, volume.name)
        folder = self.path / volume.name
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        for name in sorted(found | set(record["files"])):
            file, expected = folder / name, record["files"].get(name)
            if expected is None or name not in found:
                state = "is in no commit record" if expected is None else "is missing"
                raise damaged(self.path, volume.name, file, f"it {state}")
            if (size := file.stat().st_size) != expected["bytes"]:
                state = f"it has {size:,} bytes, not {expected['bytes']:,}"
                raise damaged(self.path, volume.name, file, state)
            if (full or file.name == "zarr.json") and sha256_of(file) != expected["sha256"]:
                raise damaged(self.path, volume.name, file, "its SHA-256 is another")
        for array in (IMAGE, BODY):
            check_encoding(folder / array / "zarr.json")


def open_store(path: Path) -> Store:
    """Open a store by its root attributes and its index alone, however many volumes it has.

    Raises StoreError where nothing is there, where the index is missing or damaged, or where the
    schema is not ours to read, and UsageError where the folder is something else.
    """
    root = read_root(path)
    index = path / "index.json"
    if not index.exists():
        raise StoreError(
            f"The store {path} has no index: its conversion was not finished. "
            f"Run the same `python -m data_prep convert ... --out {path}` again; it goes on "
            "where it stopped."
        )
    volumes = unseal(index)["volumes"]
    return Store(
        path=path,
        spacing_mm=tuple(root["spacing_mm"]),
        size=tuple(root["size"]),
        fingerprint=root["fingerprint"],
        contents=sha256_of(index)[:16],
        volumes=tuple(StoredVolume.from_json(volume) for volume in volumes),
    )


def read_root(path: Path) -> dict[str, Any]:
    """The root attributes of a store, its schema checked."""
    if not path.exists():
        raise NoStoreError(
            f"There is no store at {path}. Make one from your volumes:\n"
            f"  python -m data_prep convert --mri DIR --ct DIR --out {path}"
        )
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        root: dict[str, Any] = attributes[ATTRIBUTE]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a store of this project: its zarr.json is missing, damaged or without "
            f"the attribute {ATTRIBUTE}. Give a folder that `python -m data_prep convert` made."
        ) from error
    if root.get("schema") != SCHEMA:
        raise StoreError(
            f"The store {path} has schema {root.get('schema')}; this version reads {SCHEMA} and "
            "would misread another. Convert again, or use the version that wrote it."
        )
    return root


def commit_path(store: Path, name: str) -> Path:
    """Where the commit record of the volume `name` lies."""
    return store / "commits" / f"{name.replace('/', '-')}.json"


def read_commit(store: Path, name: str) -> dict[str, Any]:
    """A volume's commit record: `volume`, `source_sha256`, `fingerprint`, `files`, `notes`."""
    path = commit_path(store, name)
    if not path.exists():
        raise damaged(store, name, path, "there is no commit record")
    return unseal(path)


def check_encoding(metadata: Path) -> None:
    """Refuse an array whose dtype or codecs are not those that this project writes."""
    array = json.loads(metadata.read_bytes())
    codecs = {codec["name"] for codec in _flat(array["codecs"])}
    if array["data_type"] not in _DTYPES or not codecs <= _CODECS:
        raise StoreError(
            f"{metadata} asks for {array['data_type']} by {sorted(codecs)}: not what this project "
            "writes, and an unknown decoder may run code. Convert the volume again."
        )


def _flat(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    inner = (codec.get("configuration", {}) for codec in codecs)
    nested = [c for i in inner for key in ("codecs", "index_codecs") for c in i.get(key, [])]
    return codecs + (_flat(nested) if nested else [])


def damaged(store: Path, name: str, file: Path, found: str) -> StoreError:
    """The error for a volume that is not what was committed."""
    return StoreError(
        f"The volume {name} is damaged: {file.relative_to(store)} in {store}: {found}. Training "
        f"on it would learn from wrong voxels. Remove {commit_path(store, name)} and run the same "
        "`python -m data_prep convert` again: it makes this volume anew and keeps the others."
    )


def seal(document: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself, so that a changed digit is noticed."""
    return json.dumps(document | {"sha256": _digest(document)}, separators=(",", ":")).encode()


def unseal(path: Path) -> dict[str, Any]:
    """Read what `seal` made; raises StoreError where it is not the same any more."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        expected = document.pop("sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read ({error}). {_RECONVERT}") from error
    if _digest(document) != expected:
        raise StoreError(f"{path} was changed after it was written. {_RECONVERT}")
    return document


_RECONVERT = "Remove it and run the same `python -m data_prep convert` again."


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
