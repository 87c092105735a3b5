"""Flipped bits and lost files: what is read afterwards, and the errors that it must end in."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.data.reader import SliceReader, SliceRef
from cyclegan.errors import CheckpointError
from cyclegan.export.model_folder import CONTENT, SUMS, read_model, verify_model
from cyclegan.nets.generator import Generator
from cyclegan.train.checkpoint import background_save, checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import build_state
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti, write_nifti
from data_prep.store.check import check
from data_prep.store.commits import commit_path, frozen_splits, read_commit
from data_prep.store.index import INDEX, Index, Volumes
from data_prep.store.store import open_store, read_root
from data_prep.store.writer import COMMIT_LOCK, LOCK
from mrct.errors import UserError, VolumeError
from mrct.storage.local_path import LocalPath
from tests.faults.converted import converted_heads
from tests.faults.injections import Inject
from tests.support.models import publish_model
from tests.support.runs import unstored_run

ARRAYS = ("0", "labels/body/0")
CHECKED_IN_FULL = 10
"""The first injections, in which `check --full`, which takes longer, must find one problem too."""
FOR_OTHERS = {"mri/zarr.json", "ct/zarr.json"}
"""Empty groups that other readers walk through; nothing here reads them."""


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


@contextmanager
def flipped_in(path: Path, draw: random.Random) -> Iterator[None]:
    """A file with one wrong bit, until the block ends."""
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, draw))
    try:
        yield
    finally:
        path.write_bytes(whole)


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


@contextmanager
def flips_of_shards(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit of voxels or of a mask is found before a slice is used."""
    store = converted_heads(folder)
    volumes = list(store.volumes)

    def inject(number: int) -> None:
        array, volume = ARRAYS[number % 2], volumes[number // 2 % len(volumes)]
        name = f"{volume.name}/{array}/c/0/0/0"
        refs = [SliceRef(volume, z) for z in range(volume.shape[0])]
        with flipped_in(store.path / name, random.Random(number)):
            found(lambda: SliceReader(store, 0).start(refs).whole(), name)
            if number < CHECKED_IN_FULL:
                assert len(check(store, full=True)) == 1

    yield inject
    everything_read(store.path)


@contextmanager
def flips_of_records(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit of a commit record is found, or the record says the same."""
    store = converted_heads(folder)
    volumes = list(store.volumes)

    def inject(number: int) -> bool:
        name = volumes[number % len(volumes)].name
        path, record = commit_path(store.path, name), read_commit(store.path, name)
        with flipped_in(path, random.Random(number)):
            return found_or_same(lambda: read_commit(store.path, name), record, path.name)

    yield inject


def what_volumes_are_said_to_be(path: Path) -> object:
    return [volume.to_json() for volume in Volumes(Index(path / INDEX))]


def how_volumes_were_made(path: Path) -> object:
    root = read_root(path)
    return [root.get(name) for name in ("schema", "spacing_mm", "size", "settings", "fingerprint")]


OPENS_A_STORE: dict[str, Callable[[Path], object]] = {
    "zarr.json": how_volumes_were_made,
    INDEX: what_volumes_are_said_to_be,
    "splits.json": lambda path: frozen_splits(path, []),
}
"""Files, and what is said by them; spaces between words may become others."""


@contextmanager
def flips_of_what_opens_a_store(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit is found, or what is said of volumes is the same."""
    store = converted_heads(folder)

    def inject(number: int) -> bool:
        file, said_by = list(OPENS_A_STORE.items())[number % len(OPENS_A_STORE)]
        good = said_by(store.path)
        with flipped_in(store.path / file, random.Random(number)):
            return found_or_same(partial(said_by, store.path), good, str(store.path))

    yield inject


@contextmanager
def flips_of_gzip_files(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit of a compressed NIfTI file is found before a voxel is used."""
    path = folder / "a.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 900, (8, 20, 20)).astype(np.int16)
    write_nifti(path, voxels, np.diag([-1.0, -1, 3, 1]))
    whole = path.read_bytes()

    def inject(number: int) -> None:
        draw = random.Random(number)
        while True:
            bad = flipped(whole, draw)
            # Flags, a time stamp and a system are nothing for voxels.
            if bad[:3] + bad[10:] != whole[:3] + whole[10:]:
                break
        path.write_bytes(bad)
        with pytest.raises(VolumeError) as caught:
            read_nifti(path, modality="mri", pseudonym="p")
        assert caught.value.code in ("gzip-damaged", "header-damaged")

    yield inject


@contextmanager
def flips_of_checkpoints(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit of any file of a checkpoint is found before a tensor is used."""
    config = unstored_run(folder, "saved")
    state = build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))
    saving = background_save.BackgroundSave(config.run_folder, Worker())
    saving.begin(state)
    saving.finish()
    (saved,) = checkpoint.saved_checkpoints(config.run_folder)
    names = sorted(saved.names())

    def inject(number: int) -> None:
        with flipped_in(saved / names[number % len(names)], random.Random(number)):
            found(lambda: checkpoint.verify_checkpoint(saved), saved.name)
            with pytest.raises(CheckpointError, match="1 checkpoints"):
                checkpoint.newest_checkpoint(config.run_folder)

    yield inject
    checkpoint.verify_checkpoint(saved)


@contextmanager
def flips_of_models(folder: LocalPath) -> Iterator[Inject]:
    """A wrong bit of any file of a model folder is found by the file's name."""
    spec = PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 56))
    model = publish_model(folder / "model", Generator(filters=4, blocks=1), spec)
    names = [*CONTENT, SUMS]

    def inject(number: int) -> None:
        name = names[number % len(names)]
        with flipped_in(model / name, random.Random(number)):
            found(lambda: read_model(model), name)

    yield inject
    verify_model(model)


@contextmanager
def losses_of_files(folder: LocalPath) -> Iterator[Inject]:
    """A file of a store that is lost, cut or emptied is an error, and never zeros."""
    store = converted_heads(folder)
    files = sorted(str(p.relative_to(store.path)) for p in store.path.rglob("*") if p.is_file())
    needed = [f for f in files if Path(f).name not in (LOCK, COMMIT_LOCK) and f not in FOR_OTHERS]
    needed.remove("splits.json")  # read by `convert` alone, which makes it again

    def inject(number: int) -> None:
        draw, file = random.Random(number), needed[number % len(needed)]
        path = store.path / file
        whole = path.read_bytes()
        loss = draw.choice(["lost", "cut", "emptied"])
        path.unlink()
        if loss != "lost":
            path.write_bytes(whole[: draw.randrange(1, len(whole)) if loss == "cut" else 0])

        try:
            message = found(lambda: everything_read(store.path), str(store.path))
        finally:
            path.write_bytes(whole)
        assert Path(file).name in message, f"{file} {loss}"

    yield inject
    everything_read(store.path)
