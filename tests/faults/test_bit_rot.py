"""P4 and P5: every stored byte is verified before it is used, and what is missing is an error.

60 flipped bits of each kind and 40 losses in every test run, 1000 and 300 under `make faults`.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cyclegan.data.reader import SliceReader, SliceRef
from data_prep.readers.nifti import read_nifti, write_nifti
from data_prep.store.check import check
from data_prep.store.commits import commit_path, frozen_splits, read_commit
from data_prep.store.index import INDEX, Index, Volumes
from data_prep.store.store import open_store, read_root
from mrct.errors import UserError, VolumeError

IS_FULL = os.environ.get("CYCLEGAN_FAULTS") == "full"
FLIPS, LOSSES = (1000, 300) if IS_FULL else (60, 40)
LOCKS = {".lock", ".commit"}
FOR_OTHERS = {"mri/zarr.json", "ct/zarr.json"}
"""Empty groups that other readers walk through; nothing here reads them."""


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def everything_read(path: Path) -> None:
    """What training and evaluation read of a store: its index, all slices, whole volumes."""
    store = open_store(path)
    volumes = list(store.volumes)
    refs = [SliceRef(volume, z) for volume in volumes for z in range(volume.shape[0])]
    SliceReader(store, 0).start(refs).whole()
    for volume in volumes:
        store.verify(volume, full=True)


def found(use: Callable[[], object], name: str) -> str:
    """The message of the error that `use` must raise; it names the file."""
    with pytest.raises(UserError) as caught:
        use()
    assert name in str(caught.value), f"{name} is not named: {caught.value}"
    return str(caught.value)


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_a_flipped_bit_of_a_shard_is_found_before_a_slice_is_used(store, array):
    draw = random.Random(array)
    volumes = list(store.volumes)
    for number in range(FLIPS // 2):
        volume = volumes[number % len(volumes)]
        name = f"{volume.name}/{array}/c/0/0/0"
        whole = (store.path / name).read_bytes()
        (store.path / name).write_bytes(flipped(whole, draw))
        refs = [SliceRef(volume, z) for z in range(volume.shape[0])]

        found(lambda refs=refs: SliceReader(store, 0).start(refs).whole(), name)

        assert len(check(store, full=True)) == 1 if number < 10 else True
        (store.path / name).write_bytes(whole)
    everything_read(store.path)


def test_a_flipped_bit_of_a_commit_record_is_found_or_says_the_same(store):
    draw = random.Random(0)
    volumes = list(store.volumes)
    num_found = 0
    for number in range(FLIPS):
        name = volumes[number % len(volumes)].name
        path, record = commit_path(store.path, name), read_commit(store.path, name)
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, draw))
        num_found += found_or_same(
            lambda name=name: read_commit(store.path, name), record, path.name
        )
        path.write_bytes(whole)
    assert num_found >= 0.99 * FLIPS  # 1e-05 is 1E-05


def what_volumes_are_said_to_be(path: Path) -> object:
    return [volume.to_json() for volume in Volumes(Index(path / INDEX))]


def how_volumes_were_made(path: Path) -> object:
    root = read_root(path)
    return [root.get(name) for name in ("schema", "spacing_mm", "size", "settings", "fingerprint")]


@pytest.mark.parametrize(
    ("file", "said_by"),
    [
        ("zarr.json", how_volumes_were_made),
        (INDEX, what_volumes_are_said_to_be),
        ("splits.json", lambda path: frozen_splits(path, [])),
    ],
)
def test_a_flipped_bit_of_what_opens_a_store_is_found_or_says_the_same(store, file, said_by):
    """Spaces between words may become others; what is said of volumes may not."""
    draw = random.Random(file)
    path, good = store.path / file, said_by(store.path)
    whole = path.read_bytes()
    num_found = 0
    for _ in range(FLIPS):
        path.write_bytes(flipped(whole, draw))
        num_found += found_or_same(lambda: said_by(store.path), good, str(store.path))
    assert num_found > 0.6 * FLIPS


def found_or_same(use: Callable[[], object], good: object, name: str) -> bool:
    """Whether `use` raises an error that names the file; else it must give what is good."""
    try:
        given = use()
    except UserError as error:
        message = str(error)
    else:
        assert given == good
        return False
    assert name in message
    return True


def test_a_flipped_bit_of_a_gzip_file_is_found_before_a_voxel_is_used(tmp_path):
    path, draw = tmp_path / "a.nii.gz", random.Random(0)
    voxels = np.random.default_rng(0).integers(0, 900, (8, 20, 20)).astype(np.int16)
    write_nifti(path, voxels, np.diag([-1.0, -1, 3, 1]))
    whole = path.read_bytes()
    for _ in range(FLIPS):
        bad = flipped(whole, draw)
        path.write_bytes(bad)
        if bad[:3] + bad[10:] == whole[:3] + whole[10:]:
            continue  # flags, a time stamp and a system: nothing for voxels
        with pytest.raises(VolumeError) as caught:
            read_nifti(path, modality="mri", pseudonym="p")
        assert caught.value.code in ("gzip-damaged", "header-damaged")


def test_a_lost_cut_or_emptied_file_is_an_error_and_never_zeros(store):
    draw = random.Random(0)
    files = sorted(str(p.relative_to(store.path)) for p in store.path.rglob("*") if p.is_file())
    needed = [f for f in files if Path(f).name not in LOCKS and f not in FOR_OTHERS]
    needed.remove("splits.json")  # read by `convert` alone, which makes it again
    for number in range(LOSSES):
        file = needed[number % len(needed)]
        path = store.path / file
        whole = path.read_bytes()
        loss = draw.choice(["lost", "cut", "emptied"])
        path.unlink()
        if loss != "lost":
            path.write_bytes(whole[: draw.randrange(1, len(whole)) if loss == "cut" else 0])

        message = found(lambda: everything_read(store.path), str(store.path))

        assert Path(file).name in message, f"{file} {loss}"
        path.write_bytes(whole)
    everything_read(store.path)
