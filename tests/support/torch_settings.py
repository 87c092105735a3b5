"""What the placement of networks sets for the whole process, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_settings() -> Iterator[None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
        if torch.are_deterministic_algorithms_enabled():  # this imports the compiler
            torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
