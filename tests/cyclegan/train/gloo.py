"""Real workers without Ray: processes that meet in a file and talk through gloo."""

import os
import subprocess
import sys
from pathlib import Path

PREAMBLE = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from cyclegan.config_file import load_config
from cyclegan.train import loop
from cyclegan.train.loop import train_worker
from cyclegan.train.workers import Worker

path, meeting, rank, world_size = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
config = load_config(path)

def meet(number):
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}-{number}", rank=rank, world_size=number
    )
    return Worker(rank=rank, world_size=number)
"""


def run_workers(body: str, config: Path, world_size: int) -> list[str]:
    """Run the body in `world_size` processes at once; returns what each printed on stderr.

    `config`, `rank`, `world_size` and `meet(number)`, which gives a Worker, are there for it.
    """
    words = [sys.executable, "-c", PREAMBLE + body, str(config), str(config.with_suffix(".meet"))]
    processes = [
        subprocess.Popen(
            [*words, str(rank), str(world_size)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        told = [process.communicate(timeout=400)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world_size, "\n".join(told)
    return told
