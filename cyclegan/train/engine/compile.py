"""torch.compile: whether it works here, of what, into how many graphs, and where they are kept.

What is compiled into one graph is told by the arguments' shapes and by the mode: shapes never
change in a run, so the number of graphs is known before.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cyclegan.config.config import Config
from cyclegan.nets.generator import ResidualBlock
from cyclegan.train.engine.state import TrainState


def compile_where_possible(
    state: TrainState,
    config: Config,
    num_parts: int,
    device: torch.device,
    note: Callable[[str], None],
) -> int:
    """Compile what `train.compile` names, or leave it eager and say why.

    Returns how many graphs there will be.
    """
    if config.train.compile == "no":
        return 0
    if config.scale.compile_cache:
        # Read by torch when it first compiles; it has no other setting for this.
        folder = Path(config.scale.compile_cache).expanduser().absolute()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    if obstacle := compile_obstacle(device):
        note(f"{obstacle}: training runs eager, which is slower.")
        return 0
    # What cannot be compiled runs eager; a kill may have left a cut file in the cache.
    torch._dynamo.config.suppress_errors = True
    compile_in_place(state, config.train.compile)
    return expected_graphs(config, num_parts)


def compile_obstacle(device: torch.device) -> str:
    """Why torch.compile cannot work here; empty where it can. Compiles one small function."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler found ({compiler})"
    try:
        torch.compile(nn.ReLU())(torch.zeros(16, device=device))
    except Exception as error:  # whatever a compiler, a driver or a missing header leads to
        return f"torch.compile failed ({type(error).__name__})"
    torch._dynamo.utils.counters.clear()  # the probe is none of the run's graphs
    return ""


def compile_in_place(state: TrainState, extent: Literal["blocks", "all"]) -> None:
    """Compile the residual blocks alone, or both pairs of networks whole."""
    modules: list[nn.Module] = [state.translators, state.critics]
    if extent == "blocks":
        modules = [m for m in state.translators.modules() if isinstance(m, ResidualBlock)]
    for module in modules:
        module.compile(dynamic=False)


def expected_graphs(config: Config, num_parts: int) -> int:
    """How many graphs a run compiles; one more means that something compiles anew.

    `all`: the translators, the critics that judge, the critics that learn from a doubled batch;
    and these once more in evaluation mode where later parts of a batch leave spectral norm's
    vectors alone. `blocks`: the blocks share their code, and see two batch sizes.
    """
    if config.train.compile == "all":
        return 3 + (num_parts > 1)
    return 2 if config.train.compile == "blocks" and config.generator.blocks else 0


def compiled_graphs() -> int:
    """How many graphs this process has compiled for the run so far."""
    graphs: int = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return graphs


def compile_warning(expected: int) -> str:
    """What a user should know about the compiled graphs after some steps; mostly nothing."""
    found = compiled_graphs()
    if found == expected:
        return ""
    if found > expected:
        return (
            f"{found} graphs were compiled where {expected} are enough: something compiles anew, "
            "for minutes each time. --train.compile no is slower, but steady."
        )
    return (
        f"{found} of {expected} graphs were compiled, the rest runs eager, which is slower. If the "
        "folder of compiled code (--scale.compile-cache, TORCHINDUCTOR_CACHE_DIR) was being "
        "written when a run was killed, empty it."
    )
