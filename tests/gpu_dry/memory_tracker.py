"""Memory of a step on fake tensors: the storages that are alive, as torch's allocator counts them.

torch's own tracker (torch.distributed._tools.mem_tracker) cannot follow networks that are frozen
in a part of the step.
"""

import weakref

import torch
from torch import UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.gpu_dry.stub_run import DEVICE

BLOCK = 512
"""torch's CUDA allocator rounds to it."""


class MemoryTracker(TorchDispatchMode):
    """Bytes on the device: what is there at the beginning, and what the operators inside allocate.

    Without workspaces of cuDNN, fragmentation, and CUDA's context.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = torch.cuda.memory_allocated(DEVICE)
        self.alive: dict[int, weakref.ref[UntypedStorage]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        # What aliases an argument is a view, or the argument itself.
        if all(each.alias_info is None for each in func._schema.returns):
            for leaf in tree_leaves(made):
                if isinstance(leaf, torch.Tensor) and leaf.device == DEVICE:
                    self.add(leaf.untyped_storage())
        return made

    def add(self, storage: UntypedStorage) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self.now += size
        self.peak = max(self.peak, self.now)

        def freed(_: weakref.ref[UntypedStorage]) -> None:
            del self.alive[key]
            self.now -= size

        self.alive[key] = weakref.ref(storage, freed)
