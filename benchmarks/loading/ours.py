"""The stages of our own loading, each alone: python -m benchmarks.loading.ours NAME FOLDER ...

The same arguments and the same JSON line as `peers.py`.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import tensorstore
import torch
import zarr
from nvidia.dali import Pipeline, fn, types

import cyclegan.data.dali
from cyclegan.config.config import BatchConfig, Config, DataConfig
from cyclegan.config.presets import SCANNERS
from cyclegan.data.dali import to_batch
from cyclegan.data.reader import SliceReader, SliceRef
from cyclegan.data.sampler import Order
from cyclegan.data.slice_index import find_domain
from cyclegan.data.stored_slices import BatchFormat, StoredSlices
from cyclegan.data.stream import open_stream, steps_per_epoch
from data_prep.store.store import BODY, IMAGE, Store, open_store
from mrct.storage.local_path import LocalPath

AHEAD = 3
"""Batches whose reads are in flight."""


def random_slices(store: Store, batch: int) -> Iterator[list[tuple[Any, int]]]:
    """Random slices, a pair's two for each of a batch."""
    random = np.random.default_rng(1)
    volumes = list(store.volumes)
    depths = np.array([volume.shape[0] for volume in volumes])
    while True:
        numbers = random.integers(len(volumes), size=2 * batch)
        slices = random.integers(depths[numbers])
        yield [(volumes[n], z) for n, z in zip(numbers.tolist(), slices.tolist(), strict=True)]


def memmap(folder: LocalPath, batch: int) -> Iterator[Any]:
    """numpy, uncompressed: what the memory or the disk gives."""
    slices = np.load(folder / "slices.npy", mmap_mode="r")
    random = np.random.default_rng(1)
    while True:
        yield slices[random.integers(len(slices), size=2 * batch)]


def zarr_loop(folder: LocalPath, batch: int, arrays: tuple[str, ...]) -> Iterator[Any]:
    """zarr-python, one slice after the other."""
    store = open_store(folder / "bench.zarr")
    opened = {
        (volume.name, array): zarr.open_array(store.path / volume.name / array, mode="r")
        for volume in store.volumes
        for array in arrays
    }
    for refs in random_slices(store, batch):
        yield [np.stack([opened[v.name, array][z] for v, z in refs]) for array in arrays]


def tensorstore_alone(folder: LocalPath, batch: int) -> Iterator[Any]:
    """tensorstore as it comes, all images of a batch asked for at once."""
    store = open_store(folder / "bench.zarr")
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 16 * 2**20}})
    opened = {
        volume.name: tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(store.path / volume.name / IMAGE)},
            },
            read=True,
            open=True,
            context=context,
        ).result()
        for volume in store.volumes
    }
    for refs in random_slices(store, batch):
        reads = [opened[volume.name][z].read() for volume, z in refs]
        yield np.stack([read.result() for read in reads])


def reader(folder: LocalPath, batch: int, cache_bytes: int = 0) -> Iterator[Any]:
    """Ours: images and masks, verified, some batches in flight, as the stream reads them."""
    store = open_store(folder / "bench.zarr")
    ours = SliceReader(store, cache_bytes)
    readings = []
    for refs in random_slices(store, batch):
        readings.append(ours.start([SliceRef(volume, z) for volume, z in refs]))
        if len(readings) == AHEAD:
            yield readings.pop(0).whole()


def config_of(batch: int, threads: int, intensities: Mapping[str, Any] | None = None) -> Config:
    """The default variation, no cache: the store is larger than a worker's would be."""
    data = DataConfig(
        min_body_fraction=0,
        min_deviation=0,
        cache_gib=0.0,
        threads=threads,
        **(intensities or {}),
    )
    return Config(data=data, batch=BatchConfig(shards=1, shard_size=batch))


def pipeline(
    folder: LocalPath, batch: int, threads: int, intensities: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """The whole stream: order, reader, DALI, torch."""
    return open_stream(
        open_store(folder / "bench.zarr"),
        config_of(batch, threads, intensities),
        "train",
        shards=range(1),
        start_step=0,
        device=torch.device("cpu"),
    )


class SpawnedSource:
    """The same slices as the stream's, read in a process that DALI spawned."""

    def __init__(self, folder: LocalPath, batch: int) -> None:
        self.folder, self.batch = folder, batch
        self.read: Any = None

    def __call__(self, step: int) -> list[np.ndarray]:
        """The graph's inputs for a step."""
        if self.read is None:  # in the new process
            self.read = self.open()
        stored = self.read(step)
        inputs = stored["mri"].inputs("mri") | stored["ct"].inputs("ct")
        return list(inputs.values())

    def open(self) -> Any:
        """A function from a step to its stored slices."""
        store, config = open_store(self.folder / "bench.zarr"), config_of(self.batch, 1)
        domains = {m: find_domain(store, config.data, m, "train") for m in ("mri", "ct")}
        order = Order(
            mri=domains["mri"].table,
            ct=domains["ct"].table,
            seed=0,
            batch=config.batch,
            partner="position",
            augment=config.data,
        )
        ours = SliceReader(store, 0)

        def read(step: int) -> dict[str, StoredSlices]:
            samples = order.samples(order.indices(step, range(1)))
            stored = {}
            for modality, slices in (("mri", samples.mri), ("ct", samples.ct)):
                table, volumes = domains[modality].table, domains[modality].volumes
                rows = zip(*table.places(slices.row), strict=True)
                refs = [SliceRef(volumes[v], int(z)) for v, z in rows]
                voxels, body = ours.start(refs).whole()
                low, high = np.array([ref.volume.window for ref in refs], np.float32).T
                stored[modality] = StoredSlices(
                    voxels=voxels[:, None],
                    body=body[:, None],
                    matrix=slices.augmentation.matrices(store.size, store.spacing_mm[1:]),
                    low=low,
                    height=table.heights(slices.row),
                    scale=(2 * slices.augmentation.gain / (high - low)).astype(np.float32),
                )
            return stored

        return read


NAMES = ("voxels", "body", "matrix", "scale", "offset")
KINDS = [(types.INT16, 4, "FHWC"), (types.UINT8, 4, "FHWC"), (types.FLOAT, 2, "")]
KINDS += [(types.FLOAT, 0, "")] * 2


def spawned_workers(folder: LocalPath, batch: int, workers: int) -> Iterator[Any]:
    """The same graph, fed through shared memory by processes that DALI spawns."""
    form = BatchFormat(batch_size=batch)
    graph = Pipeline(
        batch_size=batch,
        num_threads=workers,
        device_id=None,
        exec_dynamic=True,
        py_num_workers=workers,
        py_start_method="spawn",
    )
    with graph:
        nodes = fn.external_source(
            source=SpawnedSource(folder, batch),
            num_outputs=2 * len(NAMES),
            batch=True,
            parallel=True,
            prefetch_queue_depth=AHEAD,
            dtype=[kind[0] for kind in KINDS] * 2,
            ndim=[kind[1] for kind in KINDS] * 2,
            layout=[kind[2] for kind in KINDS] * 2,
        )
        fed = LocalSources(
            dict(zip([f"{m}_{n}" for m in ("mri", "ct") for n in NAMES], nodes, strict=True))
        )
        with patch.object(cyclegan.data.dali, "fn", fed):
            domains = [
                cyclegan.data.dali._domain(modality, form, False) for modality in ("mri", "ct")
            ]
        (mri, mri_body), (ct, ct_body) = domains
        graph.set_outputs(mri, ct, mri_body, ct_body)
    graph.build()
    while True:
        tensors = tuple(images.as_tensor() for images in graph.run())
        yield to_batch(cyclegan.data.dali._finish_on_cpu(tensors, form))


class LocalSources:
    """DALI's functions, but for sources that are there already."""

    def __init__(self, nodes: dict[str, Any]) -> None:
        self.nodes = nodes

    def external_source(self, name: str, **_: Any) -> Any:
        """The node of that name."""
        return self.nodes[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(fn, name)


def batches(name: str, folder: LocalPath, batch: int, workers: int) -> Iterator[Any]:
    """The batches of one stage."""
    return {
        "memmap": lambda: memmap(folder, batch),
        "zarr-loop": lambda: zarr_loop(folder, batch, (IMAGE,)),
        "zarr-loop-masks": lambda: zarr_loop(folder, batch, (IMAGE, BODY)),
        "tensorstore": lambda: tensorstore_alone(folder, batch),
        "reader": lambda: reader(folder, batch),
        "spawned": lambda: spawned_workers(folder, batch, workers),
        "pipeline": lambda: pipeline(folder, batch, workers),
        "pipeline-all": lambda: pipeline(folder, batch, workers, SCANNERS),
    }[name]()


def cpu_s() -> float:
    """Processor time of this process and its workers, which a busy machine hardly changes."""
    me = psutil.Process()
    each = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(sum(times[:4]) for times in each)  # of workers that have ended too


def memory(folder: LocalPath, batch: int, workers: int, epochs: int) -> dict[str, float]:
    """Resident memory of the whole pipeline early and late in a run."""
    steps = steps_per_epoch(open_store(folder / "bench.zarr"), config_of(batch, workers))
    stream, me = pipeline(folder, batch, workers), psutil.Process()
    resident = []
    for _ in range(epochs):
        for _ in range(steps):
            next(stream)
        resident.append(me.memory_info().rss / 2**20)
    return {"first_mib": resident[1], "last_mib": resident[-1]}


def main() -> None:
    """Warm up, then count slices."""
    name, folder, batch, workers, seconds = sys.argv[1], LocalPath(sys.argv[2]), *sys.argv[3:6]
    if name == "memory":
        print(json.dumps(memory(folder, int(batch), int(workers), int(seconds))))
        return
    stream = batches(name, folder, int(batch), int(workers))
    for _ in range(8):
        next(stream)
    started, used_s = time.perf_counter(), cpu_s()
    for num_batches in count(1):
        next(stream)
        elapsed_s = time.perf_counter() - started
        if elapsed_s > float(seconds) and num_batches >= 4:
            break
    slices = num_batches * 2 * int(batch)
    figures = {"slices_per_s": slices / elapsed_s, "cpu_us": (cpu_s() - used_s) / slices * 1e6}
    print(json.dumps(figures), flush=True)
    if hasattr(stream, "close"):
        stream.close()


if __name__ == "__main__":
    main()
