"""`make demo`: run the whole workflow on synthetic heads, from files to a synthetic CT.

Each stage is a command that a user would type; it is printed before it runs. Results are in
`demo/`. An interrupted demo resumes when it is run again.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from cyclegan.train.engine.placement import compute_dtype
from mrct.storage.atomic import write_atomic

OUT = Path("demo")
COHORT, STORE, RUN = OUT / "cohort", OUT / "heads.zarr", OUT / "runs" / "demo"
MODEL, SYNTHETIC = RUN / "model_to_ct", OUT / "synthetic_ct"
TEST_HEAD = "phantom-0026"
SUMMARY = OUT / "summary.json"
SCORES = RUN / "evaluation_test" / "scores.json"


def stages() -> dict[str, str]:
    """Return the commands, in order."""
    test_mri = COHORT / "mri" / f"{TEST_HEAD}.nii.gz"
    return {
        "phantom": f"data_prep phantom --out {COHORT}",
        "convert": f"data_prep convert --manifest {COHORT / 'manifest.csv'} --out {STORE} "
        "--spacing-mm 3 2.4 2.4 --size 104 96",
        "train": f"cyclegan.train demo --data.store {STORE} "
        f"--run.storage {RUN.parent} --run.name {RUN.name}{shorten()}",
        "evaluate": f"cyclegan.evaluate {RUN} --split test",
        "export": f"cyclegan.export {RUN} --scores {SCORES} --overwrite",
        "translate": f"cyclegan.translate {MODEL} {test_mri} --out {SYNTHETIC} "
        "--keep-names --preview --overwrite",
    }


def shorten() -> str:
    """Return options for CPUs without bf16, where a step takes twice as long."""
    if compute_dtype("auto", torch.device("cpu")) == torch.bfloat16:
        return ""
    return " --train.max-steps 200 --schedule.validate-every 100steps"


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Measure the peak memory, in bytes, of this process and its children (sum of USS)."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue  # it has ended meanwhile
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def main() -> int:
    """Run every stage; stop at the first that fails, with its exit code."""
    if sys.argv[1:]:
        print(__doc__)
        return 2
    if SUMMARY.exists():
        print("The demo is done; `rm -r demo` to run it again.")
        print_summary(json.loads(SUMMARY.read_text()))
        return 0
    OUT.mkdir(exist_ok=True)
    seconds: dict[str, float] = {}
    with peak_memory() as peak:
        for name, command in stages().items():
            print(f"\n$ python -m {command}", flush=True)
            started = time.monotonic()
            code = subprocess.run([sys.executable, "-m", *command.split()]).returncode
            seconds[name] = round(time.monotonic() - started, 1)
            if code:
                print(
                    f"Stage {name} failed with exit code {code}. A demo that an older version "
                    f"began does not continue: rm -r {OUT}, then run it again.",
                    file=sys.stderr,
                )
                return code
    scores = json.loads(SCORES.read_text())
    summary = {
        "paired": scores["paired"],
        "cycle": scores["cycle"],
        "seconds": seconds,
        "total_s": round(sum(seconds.values()), 1),
        "peak_memory_gib": round(peak[0] / 2**30, 2),
        "cpus": os.cpu_count(),
    }
    write_atomic(SUMMARY, json.dumps(summary, indent=1).encode())
    print_summary(summary)
    return 0


def print_summary(summary: dict[str, Any]) -> None:
    """Print the table of scores and the paths of the results."""
    paired, seconds = summary["paired"], summary["seconds"]
    columns = {"mae_hu": "MAE, HU", "psnr_db": "PSNR, dB", "ssim": "SSIM", "bone_dice": "Dice"}
    header = "".join(f"{title:>11}" for title in columns.values())
    print(f"\n{'Held-out heads, inside the body':34}{header}")
    for method, values in paired.items():
        cells = "".join(f"{values[metric]['mean']:11.3f}" for metric in columns)
        print(f"{method:34}{cells}")
    stages_text = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    print(f"\n{stages_text}; {summary['total_s']:.0f} s in all, {summary['peak_memory_gib']} GiB")
    for what, path in {
        "Report": RUN / "evaluation_test" / "report.html",
        "TensorBoard": RUN / "tensorboard",
        "Model": MODEL,
        "Synthetic CT": SYNTHETIC,
        "Its picture": SYNTHETIC / f"{TEST_HEAD}_preview.png",
        "Scores": SUMMARY,
    }.items():
        print(f"{what:14}{path.absolute()}")


if __name__ == "__main__":
    sys.exit(main())
