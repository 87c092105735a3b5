"""First run on one GPU: what holds, and what is slow. It needs torch, but no DALI and no Ray.

Every check stands alone, begins only while the budget leaves it time, and prints a line; a failure
is a line too. Exit code 1 where a check failed, 2 without a GPU; `--small` tries the script itself
on a CPU with tiny sizes.

    python -m benchmarks.gpu [--budget SECONDS] [--json FILE] [--small]
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu import operations, promises, steps
from benchmarks.on_gpu.bench import Bench

Check = Callable[[Bench], Any]
CHECKS: dict[str, tuple[int, Check]] = {
    "ceilings": (15, operations.ceilings),
    "the step never waits": (25, promises.no_sync),
    "fp32 as on the CPU (relative)": (40, promises.as_on_the_cpu),
    "SSIM and TF32": (8, operations.ssim_and_tf32),
    "spectral norm under autocast": (8, operations.spectral_norm),
    "norms": (10, operations.norms),
    "convolutions": (30, operations.convolutions),
    "eager step, channels_last": (20, partial(steps.eager, channels_last="yes")),
    "eager step, NCHW": (20, partial(steps.eager, channels_last="no")),
    "checkpoint": (25, promises.kept_and_restored),
    "deterministic": (25, promises.deterministic),
    "DDP, one worker": (20, promises.one_worker_of_ddp),
    "validation's network": (15, promises.validation),
    "a CUDA graph of the eager step": (20, steps.cuda_graph),
    "conditions and losses": (60, steps.conditions_and_losses),
    "compiled generator, channels_last": (75, partial(steps.generator, channels_last="yes")),
    "compiled generator, NCHW": (75, partial(steps.generator, channels_last="no")),
    "compiled step, 8 pairs": (150, partial(steps.compiled, pairs=8)),
    "compiled step, 2 pairs": (120, partial(steps.compiled, pairs=2)),
}
"""By name: seconds that a check may need, and what it runs. Decisions first, long compiles last."""


def main(argv: list[str]) -> int:
    """Run the checks that the budget allows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=480, help="seconds in all")
    parser.add_argument("--json", type=Path, help="file for the lines and the slowest kernels")
    parser.add_argument("--small", action="store_true", help="tiny, on the CPU")
    options = parser.parse_args(argv)
    if not options.small and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured. --small tries the script on the CPU.")
        return 2
    began = time.monotonic()
    checks = dict(CHECKS)
    if options.small:
        del checks["a CUDA graph of the eager step"]
    numbers: dict[str, Any] = {}
    failed = 0
    for name, (limit_s, check) in checks.items():
        left_s = options.budget - (time.monotonic() - began)
        if left_s < limit_s:
            print(f"SKIP {name}: {left_s:.0f} s left, needs {limit_s}", flush=True)
            continue
        failed += not run_one_check(name, check, Bench(small=options.small), numbers)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1, default=str) + "\n")
    print(f"{time.monotonic() - began:.0f} s in all, {failed} of {len(checks)} checks failed")
    return 1 if failed else 0


def run_one_check(name: str, check: Check, bench: Bench, numbers: dict[str, Any]) -> bool:
    """Run one check and print its line; False where it failed."""
    began = time.monotonic()
    try:
        found, word = check(bench), "ok  "
    except Exception as error:  # the checks after it are worth their time all the same
        found, word = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}", "FAIL"
        traceback.print_exc(limit=3, file=sys.stderr)
    line, seen = found if isinstance(found, tuple) else (found, None)
    numbers[name] = line
    if seen:
        numbers[f"slowest kernels, {name}"] = seen.slowest
    print(f"{word} {name} ({time.monotonic() - began:.1f} s): {line}", flush=True)
    return word != "FAIL"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
