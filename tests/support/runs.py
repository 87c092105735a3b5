"""Small runs: configurations that read no store, and a run that is over."""

from dataclasses import replace

from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from data_prep.store.store import Store
from mrct.storage.local_path import LocalPath


def unstored_run(folder: LocalPath, name: str) -> Config:
    """`smoke`, whose run lies in a folder; its store does not exist."""
    base = smoke()
    return resolve(
        replace(
            base,
            run=replace(base.run, storage=str(folder), name=name),
            data=replace(base.data, store=str(folder / "none.zarr")),
        )
    )


def run_of_one_step(store: Store, base: Config) -> Config:
    """Train a run of one step beside its store; its images are nonsense."""
    config = resolve(
        replace(
            base,
            run=replace(base.run, name="one", storage=str(store.path.parent)),
            data=replace(base.data, store=str(store.path)),
            train=replace(base.train, max_steps=1),
        )
    )
    config.run_folder.make_folder()
    (config.run_folder / "config.yaml").put(to_yaml(config).encode())
    train_worker(config, Worker())
    return config
