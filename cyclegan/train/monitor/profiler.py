"""Optional profile of a few steps: the time of each operator, on the host and on the device.

The trace opens in Perfetto, and in TensorBoard with its profile plugin.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker

LEFT_OUT, WARM_UP, TRACED = 8, 2, 5
"""Steps skipped for compilation and warm-up, warm-up steps of the profiler, and traced steps."""


@contextmanager
def trace_steps(
    config: Config, worker: Worker, note: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each step; without `debug.profile` it does nothing."""
    if not config.debug.profile:
        yield lambda: None
        return
    name = f"worker{worker.rank:03d}.pt.trace.json.gz"

    def keep(profiler: profile) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            profiler.export_chrome_trace(str(path))
            target = config.run_folder / "profile"
            target.make_folder()
            (target / name).put(path.read_bytes())
        note(f"Traced {TRACED} steps; open {target / name} in Perfetto.")

    activities = [ProfilerActivity.CPU]
    if worker.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(wait=LEFT_OUT, warmup=WARM_UP, active=TRACED, repeat=1),
        on_trace_ready=keep,
        record_shapes=True,
    ) as profiler:
        yield profiler.step
