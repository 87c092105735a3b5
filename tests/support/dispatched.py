"""How many operators the host dispatches outside of compiled regions: on a GPU each is a launch."""

from collections import Counter
from collections.abc import Callable

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

REGIONS = ("Torch-Compiled Region", "CompiledFunction")
NO_LAUNCH = {
    "aten::alias",
    "aten::as_strided",
    "aten::detach",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::expand",
    "aten::lift_fresh",
    "aten::permute",
    "aten::select",
    "aten::slice",
    "aten::split",
    "aten::t",
    "aten::transpose",
    "aten::unbind",
    "aten::unsqueeze",
    "aten::view",
}
"""Views and memory: they compute nothing."""
DISPATCHED = set(torch._C._dispatch_get_all_op_names())
"""Some overloads are TorchScript's alone."""


def dispatched(work: Callable[[], object]) -> Counter[str]:
    """Operators that a call dispatches, by name; a compiled region is one, there and back."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    found: Counter[str] = Counter()
    for event in profiler.events():
        if event.cpu_parent is None:
            count(event, found)
    return found


def count(event: FunctionEvent, found: Counter[str]) -> None:
    """Count an event, or what it consists of where it is no operator of its own."""
    name = event.name
    if any(region in name for region in REGIONS):
        found["compiled region"] += 1
    elif name.startswith("aten::") and not is_composite(name):
        found[name] += name not in NO_LAUNCH
    else:
        for child in event.cpu_children:
            count(child, found)


def is_composite(name: str) -> bool:
    """Whether an operator only calls others."""
    packet = getattr(torch.ops.aten, name.removeprefix("aten::"))
    full_names = {name + (f".{each}" if each != "default" else "") for each in packet.overloads()}
    return any(
        torch._C._dispatch_has_kernel_for_dispatch_key(full_name, "CompositeImplicitAutograd")
        for full_name in full_names & DISPATCHED
    )
