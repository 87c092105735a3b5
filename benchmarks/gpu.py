"""First run on one GPU: how fast, and in which layout. It needs torch, but no DALI and no Ray.

Every check stands alone, begins only while the budget leaves it time, and prints a line; a failure
is a line too. The faster layout goes into the file that `train.channels_last auto` reads. Exit code
1 where a check failed, 2 without a GPU; `--small` tries the script itself on a CPU with tiny sizes.
What must hold on a GPU is in tests/gpu; `make gpu` runs both.

    python -m benchmarks.gpu [--preset NAME] [--size PIXELS] [--budget SECONDS] [--json FILE]
"""

import argparse
import gc
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu import beside_steps, operations, steps
from benchmarks.on_gpu.bench import SMALL, Bench, Figures
from benchmarks.on_gpu.page import write_page
from cyclegan.train.engine.measured_layout import record_layouts

Check = Callable[[Bench], Figures | str]
LAYOUT_NAMES = {"yes": "channels_last", "no": "NCHW"}


def checks_of(preset: str) -> dict[str, tuple[int, Check]]:
    """By name: seconds that a check may need, and what it runs. Decisions first, details last."""
    ours, usual = partial(steps.ours, preset=preset), partial(steps.usual, preset=preset)
    return {
        "ceilings": (15, operations.ceilings),
        "eager, channels_last": (30, partial(ours, compile="no", channels_last="yes", pairs=8)),
        "eager, NCHW": (30, partial(ours, compile="no", channels_last="no", pairs=8)),
        "usual, eager": (20, partial(usual, compile="no", pairs=8)),
        "compiled, channels_last": (
            110,
            partial(ours, compile="all", channels_last="yes", pairs=8),
        ),
        "compiled, NCHW": (110, partial(ours, compile="all", channels_last="no", pairs=8)),
        "usual, compiled": (80, partial(usual, compile="all", pairs=8)),
        "checkpoint": (15, beside_steps.checkpoints),
        "volume": (15, beside_steps.volume),
        "compiled, channels_last, 2 pairs": (
            90,
            partial(ours, compile="all", channels_last="yes", pairs=2),
        ),
        "norms": (10, operations.norms),
        "convolutions": (30, operations.convolutions),
        "conditions and losses": (60, operations.conditions_and_losses),
        "generator, channels_last": (60, partial(operations.generator, channels_last="yes")),
        "generator, NCHW": (60, partial(operations.generator, channels_last="no")),
    }


def main(argv: list[str]) -> int:
    """Run the checks that the budget allows, and write what they found where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="default", help="whose step is measured")
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice's side")
    parser.add_argument("--budget", type=float, default=480, help="seconds in all")
    parser.add_argument("--json", type=Path, help="file for all figures and the slowest kernels")
    parser.add_argument("--docs", type=Path, help="page whose marked part gets the figures")
    parser.add_argument("--small", action="store_true", help="tiny, on the CPU")
    options = parser.parse_args(argv)
    if not options.small and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured. --small tries the script on the CPU.")
        return 2
    bench = SMALL if options.small else Bench(device=torch.device("cuda", 0), size=options.size)
    began = time.monotonic()
    checks = checks_of(options.preset)
    found: dict[str, Figures | str] = {"machine": machine(bench, options.preset)}
    print(line_of(found["machine"]), flush=True)
    failed = 0
    for name, (limit_s, check) in checks.items():
        left_s = options.budget - (time.monotonic() - began)
        if left_s < limit_s:
            print(f"SKIP {name}: {left_s:.0f} s left, needs {limit_s}", flush=True)
            continue
        failed += not run_one_check(name, check, bench, found)
    for text in (ratio := ratios(found)):
        print(f"{text}: {ratio[text]:.2f}")
    if not options.small and (faster := faster_layouts(found)):
        print(f"{record_layouts(bench.name, options.preset, faster)}: channels_last {faster}")
    if options.json:
        options.json.write_text(json.dumps(found | {"ratios": ratio}, indent=1) + "\n")
    if options.docs:
        write_page(options.docs, found, ratio)
    print(f"{time.monotonic() - began:.0f} s in all, {failed} of {len(checks)} checks failed")
    return 1 if failed else 0


def machine(bench: Bench, preset: str) -> Figures:
    """What was measured, and with which versions."""
    return {
        "gpu": bench.name,
        "preset": preset,
        "size": bench.size,
        "day": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
    }


def run_one_check(name: str, check: Check, bench: Bench, found: dict[str, Figures | str]) -> bool:
    """Run one check and print its line; False where it failed."""
    began = time.monotonic()
    gc.collect()  # the networks of the check before it
    torch.cuda.empty_cache()
    try:
        found[name], word = check(bench), "ok  "
    except Exception as error:  # the checks after it are worth their time all the same
        found[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
        word = "FAIL"
        traceback.print_exc(limit=3, file=sys.stderr)
    took_s = time.monotonic() - began
    print(f"{word} {name} ({took_s:.1f} s): {line_of(found[name])}", flush=True)
    return word != "FAIL"


def line_of(found: Figures | str) -> str:
    """Figures in one line, without the table of kernels."""
    if isinstance(found, str):
        return found
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in found.items()
        if name != "slowest"
    )


def faster_layouts(found: dict[str, Figures | str]) -> dict[str, str]:
    """By the value of `train.compile`: the faster one of `train.channels_last`, if both ran."""
    faster = {}
    for way, extent in (("eager", "no"), ("compiled", "all")):
        speeds = {
            value: speed_of(found, f"{way}, {layout}") for value, layout in LAYOUT_NAMES.items()
        }
        if all(speeds.values()):
            faster[extent] = max(speeds, key=speeds.__getitem__)
    return faster


def speed_of(found: dict[str, Figures | str], name: str) -> float:
    """Pairs per second; 0 where a check did not run or failed."""
    figures: Any = found.get(name)
    return figures["pairs_per_s"] if isinstance(figures, dict) else 0.0


def ratios(found: dict[str, Figures | str]) -> dict[str, float]:
    """Our pairs per second in the faster layout over the usual step's, of what was measured."""
    quotients = {}
    for way in ("eager", "compiled"):
        ours = max(speed_of(found, f"{way}, {layout}") for layout in LAYOUT_NAMES.values())
        theirs = speed_of(found, f"usual, {way}")
        if ours and theirs:
            quotients[f"{way}: ours over the usual step"] = ours / theirs
    return quotients


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
