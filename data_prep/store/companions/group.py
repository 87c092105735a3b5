"""The companions of one MRI: CTs on its voxel grid, warped onto it or of the same person.

    STORE/companions/<key>/mri-<pseudonym>/   exists once its zarr.json does, which is written last
        zarr.json   sealed: what the companions are, and size and SHA-256 of the other files
        ct          int16 [z x K, y, x], HU: the K companions of slice 0, then those of slice 1, ...
        weight      uint8, likewise: how far each is trusted, 0 to 255; 0 outside the MRI's body

Axes: K companions.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.store.commits import BODY, IMAGE, damaged, digest, read_commit, seal
from data_prep.store.stored_volume import PSEUDONYM
from data_prep.store.zarr_codec import (
    ATTRIBUTE,
    METADATA,
    SHARD,
    FileSums,
    compare,
    decode,
    encode,
    sums_of,
    unknown_encoding,
    zarr_group,
)
from mrct.errors import StoreError, UnreachableError
from mrct.storage.json_text import parse_json
from mrct.storage.names import safe_join
from mrct.storage.paths import StoragePath

COMPANIONS = "companions"
"""Folder of all companions inside a store."""
COMPANIONS_VERSION = 1
CT_ARRAY, WEIGHT_ARRAY = "ct", "weight"
"""Paths of the arrays, relative to the group."""
TRUSTED = 255
"""Weight of a voxel that is trusted as a whole."""
KEY = "[0-9a-f]{16}"
GROUP = f"mri-{PSEUDONYM}"
"""Regular expressions of the names of the folders."""

Kind = Literal["warped", "paired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceVolume:
    """A volume that companions were made of, as it was then."""

    name: str
    subject: str
    sha256: str
    """Hash of its voxels and its body mask."""

    @classmethod
    def of(cls, store: StoragePath, name: str) -> "SourceVolume":
        """Return a volume of a store as it is now.

        Raises:
            StoreError: The store does not have it any more, or its commit record was changed.
        """
        record = read_commit(store, name)
        sums = [record["files"][f"{array}/{SHARD}"]["sha256"] for array in (IMAGE, BODY)]
        subject = record["volume"]["subject"]
        return cls(name=name, subject=subject, sha256=digest({"voxels": sums}))


@dataclass(frozen=True, kw_only=True)
class Companion:
    """The companions of an MRI: their facts, and their voxels on demand."""

    store: StoragePath
    key: str
    """Hash of what all companions of its folder were made from."""
    kind: Kind
    """`warped` onto the MRI, or `paired`: of the same person and aligned with it."""
    mri: SourceVolume
    cts: tuple[SourceVolume, ...]
    """[K]: the CTs, in the order of the planes."""
    quality: tuple[float, ...]
    """[K]: how well each fits; what the number means depends on the kind."""
    shape: tuple[int, int, int]
    """[z, y, x] of the MRI."""
    made_from: Mapping[str, Any]
    """Kind, hash of the table or network and settings: what the key is the hash of."""
    files: FileSums = field(repr=False)
    sha256: str
    """Hash of all of this."""

    @property
    def folder(self) -> StoragePath:
        """The Zarr group."""
        return group_path(self.store, self.key, self.mri.name)

    @property
    def subjects(self) -> frozenset[str]:
        """The subjects of the MRI and the CTs."""
        return frozenset(source.subject for source in (self.mri, *self.cts))

    def plane(self, z: int, k: int) -> int:
        """Return which plane of both arrays shows slice `z` of companion `k`."""
        return z * len(self.cts) + k

    def read(self, z: int, k: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return slice `z` of companion `k`: HU and weights [y, x]. All are decoded at first use.

        Raises:
            StoreError: A file is damaged.
        """
        hu, weight = self.voxels
        return hu[k, z], weight[k, z]

    @cached_property
    def voxels(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """HU and weights, both [K, z, y, x]; raises StoreError if they are damaged."""
        self.verify()
        hu, weight = (
            # [z x K, y, x] -> [z, K, y, x] -> [K, z, y, x]
            self._planes(name).reshape(self.shape[0], -1, *self.shape[1:]).swapaxes(0, 1)
            for name in (CT_ARRAY, WEIGHT_ARRAY)
        )
        return hu, weight

    def _planes(self, name: str) -> NDArray[Any]:
        try:
            files = (self.folder / name).read_files([METADATA, SHARD])
            if hashlib.sha256(files[SHARD]).hexdigest() != self.files[f"{name}/{SHARD}"]["sha256"]:
                raise ValueError("its SHA-256 differs")
            return decode(files)
        except (ValueError, FileNotFoundError) as error:
            raise self._damaged(f"{name}/{SHARD}", str(error)) from error

    def verify(self, *, full: bool = False) -> dict[str, bytes]:
        """Compare the files with what was written, and the volumes with those they were made of.

        Args:
            full: Also read and hash every byte; otherwise names, sizes and metadata only.

        Returns:
            Content of the files that had to be read, by name.

        Raises:
            StoreError: A file differs, or a volume was converted again or removed since.
        """
        found = self.folder.sizes()
        found.pop(METADATA, None)  # sealed by itself
        planes = self.shape[0] * len(self.cts)
        contents = compare(self.folder, found, self.files, planes, self._damaged, full=full)
        for array in (CT_ARRAY, WEIGHT_ARRAY):
            if asked := unknown_encoding(contents[f"{array}/{METADATA}"]):
                found_there = f"it requires {asked}, and an unknown decoder may run code"
                raise self._damaged(f"{array}/{METADATA}", found_there)
        for source in (self.mri, *self.cts):
            if source != SourceVolume.of(self.store, source.name):
                raise self._damaged(METADATA, f"{source.name} was converted again since")
        return contents

    def _damaged(self, file: str, found: str) -> StoreError:
        return damaged_group(self.store, self.folder, file, found)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedGroup:
    """The companions of an MRI, ready to be written."""

    key: str
    mri: str
    subjects: frozenset[str]
    files: dict[str, bytes]
    record: bytes
    """Its `zarr.json`, to be written last."""


def group_path(store: StoragePath, key: str, volume: str) -> StoragePath:
    """Return the path of the companions of an MRI, `mri/<pseudonym>`.

    Raises:
        StoreError: No such names exist, or a link leads out of the store.
    """
    return inside(store, f"{key}/{volume.replace('/', '-')}", f"{KEY}/{GROUP}")


def inside(store: StoragePath, name: str, pattern: str) -> StoragePath:
    """Return the path of an entry among the companions; StoreError if it could lead elsewhere."""
    foreign = StoreError(
        f"The folder {COMPANIONS} of {store} cannot hold {name!r}, or is a link: nothing there was "
        "read or deleted. Delete what you do not know there."
    )
    return safe_join(store, f"{COMPANIONS}/{name}", f"{COMPANIONS}/{pattern}", foreign)


def read_group(store: StoragePath, key: str, volume: str) -> Companion | None:
    """Return the companions of an MRI; None if there are none.

    Raises:
        StoreError: Their facts were changed after they were written, or are of another version.
    """
    folder = group_path(store, key, volume)
    path = folder / METADATA
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        facts: dict[str, Any] = dict(parse_json(content)["attributes"][ATTRIBUTE])
        sealed = facts.pop("sha256")
        if digest(facts) != sealed:
            raise ValueError("it was changed after it was written")
        if (version := facts.pop("version")) != COMPANIONS_VERSION:
            raise ValueError(f"it is of version {version}, not {COMPANIONS_VERSION}")
        found = Companion(
            **facts
            | {
                "mri": SourceVolume(**facts["mri"]),
                "cts": tuple(SourceVolume(**ct) for ct in facts["cts"]),
                "quality": tuple(facts["quality"]),
                "shape": tuple(facts["shape"]),
            },
            store=store,
            key=key,
            sha256=sealed,
        )
        if found.mri.name != volume or key != key_of(found.made_from):
            raise ValueError("it belongs to another folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_group(store, folder, METADATA, str(error)) from error
    return found


def key_of(made_from: Mapping[str, Any]) -> str:
    """Return the key of all companions that are made from the same: kind, hashes, settings."""
    return digest(dict(made_from))[:16]


def encode_group(
    *,
    kind: Kind,
    mri: SourceVolume,
    cts: Sequence[SourceVolume],
    hu: NDArray[np.int16],
    weight: NDArray[np.uint8],
    quality: Sequence[float],
    made_from: Mapping[str, Any],
) -> EncodedGroup:
    """Encode the companions of an MRI.

    Args:
        kind: `warped` or `paired`.
        mri: The MRI.
        cts: [K], the CTs.
        hu: int16 [K, z, y, x].
        weight: uint8 [K, z, y, x].
        quality: [K], how well each fits.
        made_from: What the key is the hash of.
    """
    assert hu.shape == weight.shape
    assert len(hu) == len(cts) == len(quality) > 0
    files: dict[str, bytes] = {}
    for name, array in ((CT_ARRAY, hu), (WEIGHT_ARRAY, weight)):
        # [K, z, y, x] -> [z x K, y, x]: the planes of one slice lie side by side in the shard
        planes = array.swapaxes(0, 1).reshape(-1, *array.shape[2:])
        files |= {f"{name}/{file}": content for file, content in encode(planes).items()}
    facts = {
        "version": COMPANIONS_VERSION,
        "kind": kind,
        "mri": asdict(mri),
        "cts": [asdict(ct) for ct in cts],
        "quality": [float(each) for each in quality],
        "shape": list(hu.shape[1:]),
        "made_from": dict(made_from),
        "files": sums_of(files, hu.shape[0] * hu.shape[1]),
    }
    return EncodedGroup(
        key=key_of(made_from),
        mri=mri.name,
        subjects=frozenset(source.subject for source in (mri, *cts)),
        files=files,
        record=zarr_group({ATTRIBUTE: json.loads(seal(facts))}),
    )


def damaged_group(store: StoragePath, folder: StoragePath, file: str, found: str) -> StoreError:
    """Return the error for companions that cannot be used, or for a store that is away."""
    error = damaged(store, folder.name, file, found)
    if isinstance(error, UnreachableError):
        return error
    return StoreError(
        f"The companions {folder.parent.name}/{folder.name} in {store} cannot be used: {file}: "
        f"{found}. Training on them would learn from wrong voxels. Run `python -m data_prep check "
        f"{store} --repair --full` to remove them, and then `python -m cyclegan.anchor` again."
    )
