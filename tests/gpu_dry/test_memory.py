"""Memory of an eager step in bf16 is what docs/gpu.md says, from which a batch can be planned."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cyclegan.config.config import BatchConfig
from cyclegan.train.distributed import Worker
from tests.gpu_dry.memory_tracker import MemoryTracker
from tests.gpu_dry.stub_run import DEVICE, eager, fake_tensors, stub_run

PAGE = Path(__file__).resolve().parents[2] / "docs/gpu.md"
ROWS = re.findall(r"^\| `([\w-]+)` \| (\d+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)
assert ROWS


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pairs", "gib"), ROWS)
def test_a_step_needs_the_memory_that_the_docs_state(name, pairs, gib):
    config = replace(eager(name, "bf16"), batch=BatchConfig(shards=1, shard_size=int(pairs)))
    run = stub_run(config, Worker(device=DEVICE))

    with fake_tensors(), MemoryTracker() as memory:
        run.step()
        run.step()  # with Adam's moments from the first

    # A twentieth: more is another design of the step, and the page has to say it.
    assert memory.peak / 2**30 == pytest.approx(float(gib), rel=0.05)
    assert memory.peak < torch.cuda.get_device_properties(DEVICE).total_memory


def test_memory_is_counted_while_a_tensor_or_a_view_of_it_is_alive():
    with fake_tensors(), MemoryTracker() as memory:
        start = memory.now
        first = torch.empty(1 << 20, device=DEVICE)
        second = first * 2
        view = second.view(2, -1).add_(1)
        assert memory.now - start == 8 << 20
        del first, second
        assert memory.now - start == 4 << 20
        del view
        assert memory.now == start
        assert memory.peak - start == 8 << 20
