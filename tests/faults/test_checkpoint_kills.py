"""P3, the checkpoint half: no kill at any moment leaves a checkpoint that is not whole, or a score
that is not: at most the newest checkpoint waits for one.

Three kills under `make test-all`, 100 under `make faults`.
"""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from cyclegan.config.files import resolve, to_yaml
from cyclegan.config.presets import smoke
from cyclegan.train.checkpoint import checkpoint

KILLS = 100 if os.environ.get("CYCLEGAN_FAULTS") == "full" else 3
SAVE_FOR_EVER = """
import sys, torch
from mrct.storage.paths import storage_path
from cyclegan.config.files import load_config
from cyclegan.train.checkpoint import background_save, checkpoint
from cyclegan.train.distributed import Worker
from cyclegan.train.engine.state import build_state
config = load_config(storage_path(sys.argv[1]))
state = build_state(config, size=(32, 32), shards=range(2), device=torch.device("cpu"))
saving = background_save.BackgroundSave(
    config.run_folder, Worker(), lambda: checkpoint.prune_checkpoints(config.run_folder, 2, 1)
)
for folder in checkpoint.saved_checkpoints(config.run_folder):
    state.step = checkpoint.verify_checkpoint(folder)["step"]
for folder in checkpoint.unscored_checkpoints(config.run_folder):  # as a run does at its start
    checkpoint.record_score(folder, 1 / state.step)
print("ready", flush=True)
while True:
    state.step += 1
    saving.begin(state, validated=True)
    saving.score(state.step, 1 / state.step)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_only_whole_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    base = smoke()
    config = resolve(
        replace(
            base,
            run=replace(base.run, storage=str(tmp_path), name="killed"),
            data=replace(base.data, store=str(tmp_path / "none.zarr")),
        )
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    for kill in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.Random(kill).uniform(0.01, 0.2))
        writer.kill()
        writer.wait()
        writer.stdout.close()

        for folder in checkpoint.saved_checkpoints(config.run_folder):
            step = checkpoint.verify_checkpoint(folder)["step"]
            assert checkpoint.score_of(folder) in (1 / step, inf)
        unscored = checkpoint.unscored_checkpoints(config.run_folder)
        assert set(unscored) <= {checkpoint.newest_checkpoint(config.run_folder)}
        assert "damaged" not in capsys.readouterr().err

    assert checkpoint.newest_checkpoint(config.run_folder) is not None
