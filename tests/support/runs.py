"""Configurations of runs that read no store."""

from dataclasses import replace

from cyclegan.config.config import Config
from cyclegan.config.files import resolve
from cyclegan.config.presets import smoke
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
