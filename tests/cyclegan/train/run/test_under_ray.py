"""The launcher on a real Ray, which all tests of this file share."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cyclegan.config.files import resolve
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.resume import check_resume, done_steps
from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.run.launch import launch
from data_prep.store.store import open_store
from mrct.errors import UserError
from mrct.ray_session import ray_session
from tests.support.object_store import s3_server

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray, of itself
]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[str]:
    """Yields the URL of an empty bucket that workers of this Ray reach."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as url:
        patch.setenv("OMP_NUM_THREADS", "1")
        with ray_session(num_cpus=2):
            yield url


def test_a_damaged_chunk_ends_the_command_with_its_message_and_not_with_retries(
    config, local_ray, tmp_path
):
    store = tmp_path / "damaged.zarr"
    shutil.copytree(config.store, store)
    for shard in (store / "ct").glob("*/0/c/0/0/0"):
        shard.unlink()
    damaged = replace(config, data=replace(config.data, store=str(store)))

    with pytest.raises(UserError, match=r"ct/[0-9a-f]+ is damaged"):
        launch(damaged)

    assert not list(damaged.run_folder.glob(".failed"))


def test_ray_trains_on_an_object_store_within_its_threads_and_another_command_may_begin_there(
    config, local_ray
):
    """Another process reaches the store as this one does: by its environment. Ray sets a worker's
    threads to its cores unless the environment limits them; then the run says so."""
    remote = resolve(
        replace(
            config,
            run=replace(config.run, storage=f"{local_ray}/runs"),
            scale=replace(config.scale, cpus_per_worker=2),
        )
    )

    assert launch(remote)
    assert not launch(remote)

    folder = remote.run_folder
    assert json.loads((folder / "environment.json").read_text())["workers"] == 1
    assert done_steps(folder) == 6
    start = checkpoint.folder_of(folder, 3)
    new = replace(remote, run=replace(remote.run, name="new"))
    assert check_resume(new, open_store(remote.store), 6, start) == start
    notes = [line.get("note", "") for line in read_lines(folder / METRICS)]
    assert sum("OMP_NUM_THREADS limits a worker to 1 of its 2 cores" in note for note in notes) == 1
