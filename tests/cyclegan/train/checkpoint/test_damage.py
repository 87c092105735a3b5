"""Damage met while training is an error that names it, never a zero slice."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from mrct.errors import StoreError


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("modality", ["mri", "ct"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
def test_a_damaged_or_missing_chunk_stops_the_run_and_is_named(
    config: Config, tmp_path: Path, modality: str, damage: Callable[[Path], None]
):
    store = tmp_path / "damaged.zarr"
    shutil.copytree(config.store, store)
    for shard in (store / modality).glob("*/0/c/0/0/0"):
        damage(shard)

    with pytest.raises(StoreError, match=rf"{modality}/[0-9a-f]+(.|\n)*data_prep"):
        train_worker(replace(config, data=replace(config.data, store=str(store))), Worker())
