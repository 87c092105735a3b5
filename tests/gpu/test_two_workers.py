"""The second of two workers of a machine leaves the memory of the first one's GPU alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu.conftest import ABSENT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second CUDA device"),
]
SAVED_STEPS = """
from benchmarks.on_gpu.bench import Bench
from cyclegan.train.checkpoint.background_save import BackgroundSave
from cyclegan.train.distributed import Worker
bench = Bench(device=device, size=64, filters=16, blocks=3)
stepper = bench.stepper(bench.config(compile="no", precision="bf16", channels_last="yes"))
saving = BackgroundSave(LocalPath(folder), Worker(device=device))
for _ in range(3):
    stepper.step()
    saving.begin(stepper.state)
saving.finish()
saving.close()
"""
BATCHES = """
from tests.gpu.test_pipeline import batches
batches(LocalPath(folder) / "s.zarr", device, 3)
"""


@pytest.mark.parametrize("work", [SAVED_STEPS, BATCHES], ids=["steps-and-saves", "batches"])
def test_a_worker_on_the_second_gpu_leaves_the_first_alone(tmp_path: Path, work: str) -> None:
    if work == BATCHES and ABSENT["test_pipeline.py"]:
        pytest.skip(f"needs {', '.join(ABSENT['test_pipeline.py'])}")
    script = f"""
import torch
from mrct.storage.local_path import LocalPath
folder = {str(tmp_path)!r}
device = torch.device("cuda", 1)
torch.cuda.set_device(device)
{work}
print(torch._C._cuda_hasPrimaryContext(0), torch._C._cuda_hasPrimaryContext(1))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1].split() == ["False", "True"]
