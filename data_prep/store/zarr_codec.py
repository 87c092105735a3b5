"""Encodes voxels as the files of a Zarr array: one shard, a chunk and a checksum per slice.

It also states what was written, file by file, and compares a folder with that later.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from mrct.errors import StoreError
from mrct.storage.paths import StoragePath

METADATA, SHARD = "zarr.json", "c/0/0/0"
"""The two files of an array."""
ATTRIBUTE = "mri_ct_store"
"""Attribute of the groups of this project."""
_CODECS = {"sharding_indexed", "bytes", "blosc", "crc32c"}
_ENTRY_BYTES, _SUM_BYTES = 16, 4
"""Sizes of an entry of a shard's table, and of a crc32c, which ends the table and each chunk."""
_STORED_DTYPES = {"int16", "uint8"}
FileSums = dict[str, dict[str, Any]]
"""`bytes` and `sha256` of each file, and `places` of a shard unless an earlier version wrote it."""


def zarr_group(attributes: dict[str, Any]) -> bytes:
    """Return the `zarr.json` of a Zarr v3 group."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(group, indent=1).encode()


def encode(voxels: NDArray[Any]) -> dict[str, bytes]:
    """Return the files of an array by name; equal voxels always give equal bytes.

    Args:
        voxels: int16 or uint8, [z, y, x].

    Examples:
        >>> voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        >>> sorted(files := encode(voxels))
        ['c/0/0/0', 'zarr.json']
        >>> np.array_equal(decode(files), voxels)
        True
    """
    files: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(files),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=(1, *voxels.shape[1:]),
        shards=voxels.shape,
        compressors=[
            # The bits of a mask are in runs already; shuffling would dominate the decoding time.
            BloscCodec(
                cname="lz4",
                shuffle="bitshuffle" if voxels.dtype.itemsize > 1 else "noshuffle",
                typesize=voxels.dtype.itemsize,
            ),
            Crc32cCodec(),
        ],
        fill_value=0,
        dimension_names=("z", "y", "x"),
        # Otherwise a slice of zeros would be left out and look like a missing one.
        config={"write_empty_chunks": True},
    )
    array[:] = voxels
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def decode(files: Mapping[str, bytes]) -> NDArray[Any]:
    """Decode the files written by `encode` to an array [z, y, x].

    Raises:
        ValueError: A checksum is wrong.
    """
    assert SHARD in files, "zarr takes a missing shard for zeros"
    store = MemoryStore({name: Buffer.from_bytes(content) for name, content in files.items()})
    try:
        return np.asarray(zarr.open_array(store, mode="r")[:])
    except RuntimeError as error:  # Blosc's own
        raise ValueError(str(error)) from error


def chunk_places(read: Callable[[int, int], bytes], num_bytes: int, num_chunks: int) -> str:
    """Return a hash of which chunk of a shard is in which place, from a few of its bytes.

    The checksum of a chunk says nothing of its place. The table at the end of a shard has position
    and length of each chunk; of chunks of one length, which could be exchanged without a trace in
    it, their checksums count too.

    Args:
        read: Returns the bytes from `start` to `stop`, excluded.
        num_bytes: Length of the shard.
        num_chunks: Its slices.

    Returns:
        A SHA-256, or an empty text if there is no such table.
    """
    table = read(max(0, num_bytes - _ENTRY_BYTES * num_chunks - _SUM_BYTES), num_bytes)
    if len(table) != _ENTRY_BYTES * num_chunks + _SUM_BYTES:
        return ""
    entries = np.frombuffer(table[:-_SUM_BYTES], "<u8").reshape(-1, 2)  # position and length
    if entries.max() > num_bytes:
        return ""
    _, which, counts = np.unique(entries[:, 1], return_inverse=True, return_counts=True)
    ends = entries[counts[which] > 1].sum(axis=1).tolist()
    sums = [read(max(0, end - _SUM_BYTES), end) for end in ends]
    return hashlib.sha256(b"".join([table, *sums])).hexdigest()


def sums_of(files: Mapping[str, bytes], num_slices: int) -> FileSums:
    """Return what tells the files of a group from others, each array with so many slices."""
    sums: FileSums = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }
    for name in (name for name in sums if name.endswith(SHARD)):
        places = chunk_places(_ranges_of(files[name]), len(files[name]), num_slices)
        assert places, "the table of the chunks is no longer at the end of a shard"
        sums[name]["places"] = places
    return sums


def _ranges_of(content: bytes) -> Callable[[int, int], bytes]:
    return lambda start, stop: content[start:stop]


def compare(
    folder: StoragePath,
    found: Mapping[str, int],
    sums: FileSums,
    num_slices: int,
    damaged: Callable[[str, str], StoreError],
    *,
    full: bool,
) -> dict[str, bytes]:
    """Compare files with what was written: names, sizes, metadata and the order of slices.

    Args:
        folder: Folder of the group.
        found: Size of each file that is there.
        sums: What was written.
        num_slices: Slices of each array.
        damaged: Returns the error for a file and what is wrong with it.
        full: Also read every file and check its hash.

    Returns:
        Content of the files that had to be read, by name.

    Raises:
        StoreError: A file differs.
    """
    for file in sorted(found.keys() | sums.keys()):
        if file not in sums or file not in found:
            state = "is missing" if file in sums else "is in no commit record"
            raise damaged(file, f"it {state}")
        if (size := found[file]) != (wanted := sums[file]["bytes"]):
            raise damaged(file, f"it has {size:,} bytes, not {wanted:,}")
        places = sums[file].get("places")
        if places and chunk_places((folder / file).ranges(), wanted, num_slices) != places:
            raise damaged(file, "its slices are in another order")
    contents = folder.read_files([file for file in sums if full or file.endswith(METADATA)])
    for file, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sums[file]["sha256"]:
            raise damaged(file, "its SHA-256 differs")
    return contents


def unknown_encoding(metadata: bytes) -> str:
    """Return the dtype and codecs in an array's `zarr.json`; empty if this project writes them."""
    array = json.loads(metadata)
    codecs = {codec["name"] for codec in _flat(array["codecs"])}
    if array["data_type"] in _STORED_DTYPES and codecs <= _CODECS:
        return ""
    return f"{array['data_type']} by {sorted(codecs)}"


def _flat(codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    inner = (codec.get("configuration", {}) for codec in codecs)
    nested = [c for i in inner for key in ("codecs", "index_codecs") for c in i.get(key, [])]
    return codecs + (_flat(nested) if nested else [])
