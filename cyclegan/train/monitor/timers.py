"""Per-step time and memory, measured without synchronising the device.

On a GPU the host runs ahead, so moments are events in the device's stream, read on demand; on a CPU
they are times of the host's clock.
"""

import resource
import time
from collections.abc import Sequence
from itertools import starmap

import torch


class HostEvent:
    """The present moment on the host's clock."""

    def __init__(self) -> None:
        self.s = time.perf_counter()

    def elapsed_time(self, end_event: "HostEvent", /) -> float:
        """Return the milliseconds from this moment to another."""
        return 1000 * (end_event.s - self.s)


Event = HostEvent | torch.cuda.Event


def milliseconds(begin: Event, end: Event) -> float:
    """Return the milliseconds from one moment to another of the same kind."""
    return float(begin.elapsed_time(end))  # type: ignore[arg-type]


class StepTimer:
    """Timer that splits steps into named parts."""

    def __init__(self, device: torch.device, parts: Sequence[str]) -> None:
        self.device = device
        self.laps: dict[str, list[tuple[Event, Event]]] = {part: [] for part in parts}
        self.last = self.now()

    def now(self) -> Event:
        """Return the present moment in the order of the device's work."""
        if self.device.type != "cuda":
            return HostEvent()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def start(self) -> None:
        """Start timing; the time since the end of the last part is not counted."""
        self.last = self.now()

    def lap(self, part: str) -> None:
        """End a part of the step, and begin the next one."""
        moment = self.now()
        self.laps[part].append((self.last, moment))
        self.last = moment

    def take(self) -> dict[str, float]:
        """Return the milliseconds of each part since the last call, summed over the steps.

        On a GPU this waits for the device.
        """
        if isinstance(self.last, torch.cuda.Event):
            self.last.synchronize()  # the last of them in the stream
        taken = {part: sum(starmap(milliseconds, laps)) for part, laps in self.laps.items()}
        self.laps = {part: [] for part in self.laps}
        return taken


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process, in GiB.

    On a GPU also how often torch ran out of cached memory and had to free and reallocate it: each
    retry is a sync, and more than a few mean that the batch is too large.
    """
    if device.type != "cuda":
        return {"memory/peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    retries = torch.cuda.memory_stats(device).get("num_alloc_retries", 0)
    return {
        "memory/peak_gib": torch.cuda.max_memory_allocated(device) / 2**30,
        "memory/retries": float(retries),
    }
