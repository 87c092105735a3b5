"""Z1 to Z9: what may happen to a store, and what is then done. Kills are in a file of their own."""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cyclegan.data.reader import SliceReader, SliceRef
from data_prep.store.check import check
from data_prep.store.commits import commit_path, seal
from data_prep.store.store import open_store
from data_prep.store.writer import write_volume
from data_prep.store.zarr_codec import METADATA, SHARD, decode, encode
from mrct.errors import StoreError
from tests.conftest import ROOT
from tests.data_prep.store.test_writer import new_volume
from tests.faults.converted import contents, run
from tests.support.stores import make_store

FILES = [
    "zarr.json",
    "0/zarr.json",
    "0/c/0/0/0",
    "labels/zarr.json",
    "labels/body/zarr.json",
    "labels/body/0/zarr.json",
    "labels/body/0/c/0/0/0",
]


def test_z1_and_z6_what_was_not_committed_is_no_data_and_is_made_again(inputs, store):
    whole = contents(store.path)
    first, second = store.volumes[0].name, store.volumes[1].name
    commit_path(store.path, first).unlink()  # killed between the rename and the record
    commit_path(store.path, second).unlink()
    shutil.rmtree(store.path / second / "labels")  # killed in the middle of being replaced
    (store.path / "mri/.partial-0123-x/0").mkdir(parents=True)
    (store.path / "commits/.partial-4567-y.json").touch()

    report = run(inputs, store.path)

    assert (report.written, report.kept, report.swept) == (2, 4, 4)
    assert contents(store.path) == whole


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_z2_a_flipped_bit_is_named_in_training_and_mended_from_the_source(inputs, store, array):
    whole = contents(store.path)
    random = np.random.default_rng(2)
    damaged = store.volumes[::2]
    for volume in damaged:
        shard = store.path / volume.name / array / "c/0/0/0"
        content = bytearray(shard.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        shard.write_bytes(content)
        with pytest.raises(StoreError, match=f"{volume.name}/{array}/c/0/0/0 in .*s.zarr"):
            SliceReader(store, 0).start([SliceRef(volume, z) for z in range(10)]).whole()
    assert len(check(store, full=True)) == len(damaged)

    report = run(inputs, store.path, repair=True)

    assert (report.written, report.kept) == (len(damaged), 6 - len(damaged))
    assert contents(store.path) == whole


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("loss", ["deleted", "empty", "short"])
def test_z3_a_lost_file_is_found_at_first_use_and_never_read_as_zeros(store, file, loss):
    volume = store.volumes[1]
    path = store.path / volume.name / file
    if loss == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 20 if loss == "short" else 0])

    for use in (
        lambda: SliceReader(store, 2**20).start([SliceRef(volume, 5)]).whole(),
        lambda: store.voxels(volume),
        lambda: store.body(volume),
    ):
        with pytest.raises(StoreError, match=f"{volume.name}/{file}"):
            use()
    assert len(check(store)) == 1


def reverse(shard: Path, metadata: Path) -> None:
    """Write the slices of an array in the opposite order, each with a checksum that fits."""
    files = {METADATA: metadata.read_bytes(), SHARD: shard.read_bytes()}
    shard.write_bytes(encode(decode(files)[::-1].copy())[SHARD])


def exchange_equals(shard: Path, num_slices: int) -> None:
    """Exchange two slices of different content and equal length where they lie."""
    content = bytearray(shard.read_bytes())
    table = np.frombuffer(content[-16 * num_slices - 4 : -4], "<u8").reshape(-1, 2).tolist()
    for (one, length), (other, its) in itertools.combinations(table, 2):
        first, second = content[one : one + length], content[other : other + its]
        if length == its and first != second:
            content[one : one + length], content[other : other + its] = second, first
            shard.write_bytes(content)
            return
    raise AssertionError("no two slices have one length")


@pytest.mark.parametrize("array", ["0", "labels/body/0"])
def test_z3_slices_in_another_order_are_found_at_first_use(store, array):
    volume = store.volumes[1]
    shard = store.path / volume.name / array / SHARD
    before = shard.stat().st_size
    reverse(shard, store.path / volume.name / array / METADATA)
    assert shard.stat().st_size == before

    for use in (
        lambda: SliceReader(store, 0).start([SliceRef(volume, 5)]).whole(),
        lambda: store.voxels(volume),
    ):
        with pytest.raises(StoreError, match=rf"{volume.name}/{array}/{SHARD} in .*another order"):
            use()
    assert len(check(store)) == 1


def test_z3_slices_of_one_length_that_were_exchanged_are_found_too(tmp_path):
    path = make_store(tmp_path / "s.zarr", mri=0, ct=1).path
    noise = new_volume()
    voxels = noise.preprocessed.voxels
    voxels[:] = np.random.default_rng(0).integers(-(2**15), 2**15, voxels.shape)
    volume = write_volume(path, noise)
    shard = path / volume.name / "0" / SHARD
    exchange_equals(shard, len(voxels))

    with pytest.raises(StoreError, match="another order"):
        open_store(path).verify(volume)


def test_z3_the_shard_of_another_volume_is_found_at_first_use(store):
    one, other = [v for v in store.volumes if v.modality == "ct"][:2]
    shards = [store.path / v.name / "labels/body/0" / SHARD for v in (one, other)]
    contents_of_other = shards[1].read_bytes()
    record = json.loads(commit_path(store.path, one.name).read_bytes())
    record.pop("sha256")
    record["files"][f"labels/body/0/{SHARD}"]["bytes"] = len(contents_of_other)
    commit_path(store.path, one.name).write_bytes(seal(record))  # as if both had one size
    shards[0].write_bytes(contents_of_other)

    with pytest.raises(StoreError, match="another order"):
        store.verify(one)


def test_z3_a_record_under_the_name_of_another_volume_is_refused(store):
    one, other = [v for v in store.volumes if v.modality == "ct"][:2]
    commit_path(store.path, one.name).write_bytes(commit_path(store.path, other.name).read_bytes())

    with pytest.raises(StoreError, match=f"is not the record of {one.name}"):
        store.verify(one)
    assert len(check(store, full=True)) == 1


def test_volumes_of_earlier_versions_have_no_order_in_their_record_and_are_read(store):
    volume = store.volumes[0]
    path = commit_path(store.path, volume.name)
    record = json.loads(path.read_bytes())
    record.pop("sha256")
    assert sum("places" in facts for facts in record["files"].values()) == 2
    for facts in record["files"].values():
        facts.pop("places", None)
    path.write_bytes(seal(record))

    SliceReader(store, 0).start([SliceRef(volume, 0)]).whole()
    assert check(store, full=True) == []


def write_again_and_again(path: Path) -> None:
    for _ in range(5):
        for seed in (1, 2):
            write_volume(path, new_volume(seed))


@pytest.mark.slow
def test_z4_a_shard_has_one_writer_and_two_of_one_volume_take_turns(tmp_path):
    path = make_store(tmp_path / "s.zarr", mri=0, ct=0).path
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_again_and_again, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    make_store(path, mri=0, ct=0)  # the index of what is committed
    store = open_store(path)
    assert len(store.volumes) == 2
    assert check(store, full=True) == []
    shards = {str(p.relative_to(path)) for p in path.glob("mri/*/**/c/**/*") if p.is_file()}
    assert shards == {
        f"{volume.name}/{array}/c/0/0/0"
        for volume in store.volumes
        for array in ("0", "labels/body/0")
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 400 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def command(inputs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`data_prep convert` as a person types it."""
    arguments = ["--mri", inputs / "mri", "--ct", inputs / "ct", "--key-file", inputs / "key"]
    arguments += ["--workers", 0, "--spacing-mm", 6, 8, 8, "--size", 24, 24, "--out", out]
    return subprocess.run(
        [sys.executable, "-m", "data_prep", "convert", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_z5_a_full_or_read_only_disk_is_said_so_and_the_run_resumes(inputs, original, small_disk):
    out = small_disk / "s.zarr"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(170_000))

    full = command(inputs, out)

    assert (full.returncode, "storage is full" in full.stderr) == (4, True)
    assert "Traceback" not in full.stderr
    kept = {p.name for p in out.glob("commits/*.json")}
    assert 0 < len(kept) < 6
    for name in kept:
        assert (out / "commits" / name).read_bytes() == (
            original.path / "commits" / name
        ).read_bytes()

    filler.unlink()
    remount(small_disk, "ro")
    read_only = command(inputs, out)
    assert (read_only.returncode, "Traceback" in read_only.stderr) == (4, False)

    remount(small_disk, "rw")
    report = run(inputs, out)
    assert (report.written, report.kept) == (6 - len(kept), len(kept))
    assert contents(out) == contents(original.path)


def test_z5_a_volume_that_will_not_fit_is_not_begun(small_disk):
    path = make_store(small_disk / "s.zarr", mri=0, ct=1).path
    before = contents(path)
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 20_000))

    with pytest.raises(OSError, match=r"No space left on device: .*mri"):
        write_volume(path, new_volume())

    assert contents(path) == before


def test_z7_another_preprocessing_may_not_append(inputs, store):
    whole = contents(store.path)
    with pytest.raises(StoreError, match=r"spacing_mm: store \[6.0, 8.0, 8.0\], asked for"):
        run(inputs, store.path, spacing_mm=(6.0, 8.0, 7.0))
    with pytest.raises(StoreError, match="another key"):
        run(inputs, store.path, key_file=store.path.parent / "another.key")
    assert contents(store.path) == whole
    assert not (store.path.parent / "another.key").exists()  # it would be taken for the store's


HOLD = """
import sys, time
from mrct.storage.paths import storage_path
from data_prep.store.writer import write_lock
with write_lock(storage_path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_z8_a_second_conversion_ends_at_once_and_says_who_writes_since_when(inputs, store):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(
            StoreError, match=rf"Another conversion .*process {holder.pid} on .* since 20\d\d-"
        ):
            run(inputs, store.path)
        assert time.monotonic() - started < 5
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert run(inputs, store.path).kept == 6  # its lock went with it


@pytest.mark.parametrize(
    ("text", "instead"), [('"crc32c"', '"pickle"'), ('"int16"', '"object"'), ('"blosc"', '"v8"')]
)
def test_z9_an_unknown_codec_or_dtype_is_refused_before_anything_is_decoded(store, text, instead):
    volume = store.volumes[0]
    metadata = store.path / volume.name / "0/zarr.json"
    metadata.write_text(metadata.read_text().replace(text, instead))
    record = commit_path(store.path, volume.name)
    commit = json.loads(record.read_text())
    commit.pop("sha256")
    commit["files"]["0/zarr.json"] = {
        "bytes": metadata.stat().st_size,
        "sha256": hashlib.sha256(metadata.read_bytes()).hexdigest(),
    }
    record.write_bytes(seal(commit))  # whoever made the store knows how to seal

    for use in (
        lambda: store.voxels(volume),
        lambda: SliceReader(store, 0).start([SliceRef(volume, 0)]).whole(),
    ):
        with pytest.raises(StoreError, match="an unknown decoder may run code"):
            use()
