"""torch.compile: whether it works here, the extent, and the number of graphs.

torch compiles one graph per combination of argument shapes and mode. Shapes do not change in a run,
so the number of graphs is known in advance.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cyclegan.config.config import Config
from cyclegan.nets.generator import ResidualBlock
from cyclegan.train.engine.formulas import Formulas
from cyclegan.train.engine.state import TrainState

Options = dict[str, str | int | bool | Callable[..., object]] | None
"""Options of torch.compile."""
FEWER_LAUNCHES: Options = {"combo_kernels": True}
"""torch.compile's options on a GPU: kernels that do not depend on each other become one, such as
those of the two generators and the casts of their weights. A launch takes the host as long as a
small kernel runs; torch leaves it off by default as experimental."""


def compile_where_possible(
    state: TrainState,
    config: Config,
    num_parts: int,
    device: torch.device,
    note: Callable[[str], None],
) -> tuple[Formulas, range]:
    """Compile as set by `train.compile`, or leave everything eager and log the reason.

    Args:
        state: State whose networks are compiled in place.
        config: Configuration of the run.
        num_parts: Micro-batches of this worker's batch.
        device: Device of the networks.
        note: Called with a message for the user.

    Returns:
        The step's functions, and the numbers of graphs to expect.
    """
    eager = Formulas(), range(1)
    if config.train.compile == "no":
        return eager
    if config.scale.compile_cache:
        # torch reads this when it first compiles, and has no other setting for it.
        folder = Path(config.scale.compile_cache).expanduser().absolute()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    if obstacle := compile_obstacle(device):
        note(f"{obstacle}: training runs in eager mode, which is slower.")
        return eager
    # What cannot be compiled runs eagerly; a kill may have left a truncated file in the cache.
    torch._dynamo.config.suppress_errors = True
    options = FEWER_LAUNCHES if device.type == "cuda" else None
    compile_in_place(state, config.train.compile, options)
    return compiled_formulas(config.train.compile, options), expected_graphs(config, num_parts)


def compile_obstacle(device: torch.device) -> str:
    """Return why torch.compile does not work here, or "" if it does; compiles a small function."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"No C++ compiler found ({compiler})"
    try:
        torch.compile(nn.ReLU())(torch.zeros(16, device=device))
    except Exception as error:  # whatever a compiler, a driver or a missing header leads to
        return f"The test of torch.compile failed ({type(error).__name__})"
    torch._dynamo.utils.counters.clear()  # do not count this test among the run's graphs
    return ""


def compile_in_place(
    state: TrainState, extent: Literal["blocks", "all"], options: Options = None
) -> None:
    """Compile only the residual blocks, or both pairs of networks as a whole."""
    modules: list[nn.Module] = [state.generators, state.discriminators]
    if extent == "blocks":
        modules = [m for m in state.generators.modules() if isinstance(m, ResidualBlock)]
    for module in modules:
        module.compile(dynamic=False, options=options)


def compiled_formulas(extent: Literal["blocks", "all"], options: Options = None) -> Formulas:
    """Return the step's functions, compiled with `all`: eager, they are 800 small operations."""
    if extent != "all":
        return Formulas()
    return Formulas().mapped(partial(torch.compile, dynamic=False, options=options))


def expected_graphs(config: Config, num_parts: int) -> range:
    """Return how many graphs a run may have compiled; more indicate a recompilation.

    `all`: the generators, the discriminators in the generators' update, the discriminators in their
    own update, which have a doubled batch; and the latter once more in evaluation mode, in which
    later parts of a batch do not update spectral norm's vectors. Then the losses of both, and the
    conditions; not in every step the image statistics, and the losses once more after the weights
    that fall have reached 0. `blocks`: the residual blocks share their code, and get two batch
    sizes.
    """
    if config.train.compile == "all":
        least = 5 + (num_parts > 1) + config.data.conditions
        falls = any(
            term.schedule == "fall" and term.effective_weight for term in config.loss.terms.values()
        )
        return range(least, least + 2 + falls)
    blocks = config.train.compile == "blocks" and config.generator.blocks
    return range(2, 3) if blocks else range(1)


def compiled_graphs() -> int:
    """Return how many graphs this process has compiled for the run so far."""
    graphs: int = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return graphs


def compile_warning(expected: range) -> str:
    """Return a warning if the number of compiled graphs is not an expected one, else ""."""
    found = compiled_graphs()
    if found in expected:
        return ""
    if found > expected[-1]:
        return (
            f"{found} graphs were compiled instead of {expected[-1]}: recompilations take minutes "
            "each. --train.compile no is slower, but does not recompile."
        )
    return (
        f"{found} of {expected[0]} graphs were compiled; the rest runs in eager mode, which is "
        "slower. If a run was killed while it wrote the folder of compiled code "
        "(--scale.compile-cache, TORCHINDUCTOR_CACHE_DIR), empty that folder."
    )
