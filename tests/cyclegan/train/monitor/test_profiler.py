"""What `--debug.profile` leaves can be read, and names what the step did."""

import gzip
import json
from dataclasses import replace

import pytest

from cyclegan.config.files import config_hash
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from cyclegan.train.monitor.profiler import LEFT_OUT, TRACED, WARM_UP


@pytest.mark.slow
def test_a_trace_holds_the_operators_of_a_few_steps_and_changes_nothing_else(config):
    steps = LEFT_OUT + WARM_UP + TRACED + 1
    profiled = replace(
        config,
        train=replace(config.train, max_steps=steps),
        schedule=replace(config.schedule, validate_every="never", save_every="never"),
        debug=replace(config.debug, profile=True),
    )

    train_worker(profiled, Worker())

    (path,) = (config.run_folder / "profile").iterdir()
    assert path.name == "worker000.pt.trace.json.gz"  # the name that TensorBoard's plugin wants
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [event.get("name") for event in events]
    assert sum(str(name).startswith("ProfilerStep#") for name in set(names)) == TRACED
    assert {"aten::conv2d", "aten::_fused_adam_"} <= set(names)
    assert config_hash(profiled) == config_hash(replace(profiled, debug=config.debug))
