"""As many workers as fit on a cluster's machines, each with the most that all can have."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from cyclegan.config.config import ScaleConfig
from cyclegan.train.run.resources import (
    COMPILING_VARIABLE,
    cores_of_worker,
    idle_cores,
    largest_share,
    limit_compiling,
    workers_that_fit,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("scale", "machines", "workers", "cores"),
    [
        ({}, [{"CPU": 16}], 2, 8),
        ({}, [{"CPU": 16}, {"CPU": 2}], 2, 8),
        ({}, [{"CPU": 8}, {"CPU": 8}], 1, 8),
        ({"cpus_per_worker": 3}, [{"CPU": 16}], 2, 3),
        ({}, [{"CPU": 64, "GPU": 1}, {"CPU": 16, "GPU": 1}], 2, 16),
        ({}, [{"CPU": 8, "GPU": 4}, {"CPU": 64}], 4, 2),
        ({"gpu": "no"}, [{"CPU": 8, "GPU": 4}, {"CPU": 64}], 1, 64),
    ],
)
def test_all_workers_fit_with_the_cores_that_each_gets(scale, machines, workers, cores):
    config = replace(ScaleConfig(), **scale)

    assert cores_of_worker(config, machines, workers) == cores
    assert workers_that_fit(config, machines, cores) >= workers


def test_a_worker_lives_on_one_machine():
    assert workers_that_fit(ScaleConfig(), [{"CPU": 3}, {"CPU": 3}], 2) == 2
    assert workers_that_fit(ScaleConfig(), [{"CPU": 64, "GPU": 2}, {"CPU": 64}], 2) == 2


@pytest.mark.parametrize(
    ("amounts", "count"),
    [([8 * GIB], 3), ([8 * GIB, 4 * GIB], 3), ([5 * GIB, 5 * GIB], 3), ([GIB], 1), ([0], 1)],
)
def test_the_leaders_memory_lets_so_many_start_and_not_many_more(amounts, count):
    share = largest_share(amounts, amounts, count)

    assert sum(amount // share for amount in amounts) >= count or sum(amounts) == 0
    if len(amounts) == 1 and sum(amounts):
        assert sum(amount // share for amount in amounts) == count


@pytest.mark.parametrize(("limit", "idle"), [("1", True), ("7", True), ("8", False), ("", False)])
def test_a_limit_of_threads_that_leaves_cores_idle_is_told(limit, idle):
    notes = idle_cores({"OMP_NUM_THREADS": limit} if limit else {}, cores=8)

    assert bool(notes) == idle
    assert all(f"limits a worker to {limit} of its 8 cores" in note for note in notes)


@pytest.mark.parametrize(
    ("cores", "chosen", "processes"),
    [(12, {}, "12"), (96, {}, "32"), (96, {COMPILING_VARIABLE: "3"}, "3")],
)
def test_a_worker_compiles_on_its_own_cores(cores, chosen, processes):
    environment = dict(chosen)

    limit_compiling(environment, cores)

    assert environment == {COMPILING_VARIABLE: processes}


def test_torch_reads_how_many_processes_compile():
    code = "import torch._inductor.config as config; print(config.compile_threads)"
    environment = dict(os.environ) | {COMPILING_VARIABLE: "5"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "5\n"
