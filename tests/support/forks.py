"""Processes for tests that start many: forks of one that has imported everything and started
nothing, so each takes a moment instead of the seconds that importing takes.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

PRELOADED = [
    "torch._dynamo",  # seconds, for the first optimizer
    "torchmetrics.functional.image",  # a second, for the first validation
    "cyclegan.train.loop",
    "cyclegan.config.files",
    "cyclegan.config.presets",
    "tests.support.stores",
]


def forked() -> ForkServerContext:
    """Where `Process` forks from; the server starts with the first one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
