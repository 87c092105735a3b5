"""Real workers without Ray: processes that meet in a file and talk through gloo."""

import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from cyclegan.config.files import load_config
from cyclegan.train.distributed import Worker
from tests.support.forks import forked

PREAMBLE = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from cyclegan.train import loop
from cyclegan.train.loop import train_worker
from cyclegan.train.distributed import Worker
"""


def work(body: str, path: Path, rank: int, world_size: int, told: Path) -> None:
    """One worker: run the body, and leave what it says on stderr in a file."""
    sys.stderr = told.open("w", buffering=1)
    torch.set_num_threads(1)

    def meet(number: int) -> Worker:
        place = path.with_suffix(f".meet-{number}")
        dist.init_process_group("gloo", f"file://{place}", rank=rank, world_size=number)
        return Worker(rank=rank, world_size=number)

    names = {"config": load_config(path), "path": path, "rank": rank, "meet": meet}
    try:
        exec(compile(PREAMBLE + body, "<worker>", "exec"), names)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def run_workers(body: str, config: Path, world_size: int) -> list[str]:
    """Run the body in `world_size` processes at once; returns what each printed on stderr.

    `config`, `path`, `rank` and `meet(number)`, which gives a Worker, are there for it.
    """
    told = [config.with_suffix(f".{world_size}-{rank}.told") for rank in range(world_size)]
    processes = [
        forked().Process(target=work, args=(body, config, rank, world_size, told[rank]))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(400)
    finally:
        for process in processes:
            process.kill()
    said = [path.read_text() for path in told]
    assert [process.exitcode for process in processes] == [0] * world_size, "\n".join(said)
    return said
