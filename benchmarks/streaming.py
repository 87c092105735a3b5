"""Claim: slices of a sharded store reach the networks at least 3x as fast as by the best peer.

One table from one run: numpy's memmap as the limit, tensorstore, our reader, our whole pipeline,
beside zarr-python, the seed's recipe, MONAI's CacheDataset and PersistentDataset and TorchIO's
Queue. All take turns, on the same cores, each in a process of its own; the peers in an environment
of their own. Files are dropped from the page cache for the cold figures. A full run takes a quarter
of an hour; where a machine is quiet for minutes only, it goes round by round:

    python -m benchmarks.streaming [--small] [--json FILE] [--folder DIR]
    python -m benchmarks.streaming --folder DIR --json FILE --rounds 1 --part loaders   # adds one
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.loading.slices import FULL, SMALL, drop_from_cache, make_slices, warm
from mrct.storage.local_path import LocalPath

Figures = dict[str, list[dict[str, float]]]
"""What each loader gave in each turn."""
CORES = len(os.sched_getaffinity(0))
BATCH = 16
OURS = {
    "memmap": "numpy memmap, random slices (limit)",
    "tensorstore": "tensorstore alone, images",
    "reader": "our reader, images and masks",
    "zarr-loop": "zarr-python's own slice loop, images",
    "zarr-loop-masks": "zarr-python's own slice loop, images and masks",
    "pipeline": "our whole pipeline, images and masks, varied",
    "pipeline-all": "  the same, and gamma, bias field, blur and noise in 15 % of MRI",
    "spawned": "  the same, fed by processes that DALI spawns",
}
PEERS = {
    "seed": "the seed's recipe: PNG, PIL, MONAI, DataLoader, no masks",
    "cache": "MONAI CacheDataset, masks",
    "cache-all": "  the same, and gamma, bias field, blur and noise in 15 % of MRI",
    "persistent": "MONAI PersistentDataset, masks",
    "persistent-all": "  the same, and gamma, bias field, blur and noise in 15 % of MRI",
    "torchio": "TorchIO Queue, masks",
    "zarr": "zarr-python, MONAI, DataLoader, masks",
}
OURS_COMMAND = [sys.executable, "-m", "benchmarks.loading.ours"]
EPOCHS = 20
COLD = {"memmap": "slices.npy", "reader": "bench.zarr", "pipeline": "bench.zarr"}
"""What they read, and so what is dropped from the page cache before."""
COLD_S = 1.0
"""Later than that, much of the store has been read once and is warm."""
SLICES_PER_S = 15_000
"""Goal of the reader."""
GOALS = [
    ("reader", "zarr-loop-masks", 20.0),
    ("pipeline", "seed", 4.0),
    ("pipeline", "best peer", 3.0),
    ("pipeline-all", "best peer", 6.0),
]


def peers_python(folder: Path) -> str:
    """The peers' own environment: this one's packages, and TorchIO."""
    python = folder / "peers" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "peers", with_pip=True)
        (site,) = (folder / "peers").glob("lib/python*/site-packages")
        (shared,) = (path for path in sys.path if path.endswith("site-packages"))
        (site / "shared.pth").write_text(shared + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "torchio"], check=True)
    return str(python)


def measure(command: list[str], folder: Path, seconds: float) -> dict[str, float]:
    """Slices a second, and processor time per slice, of one loader in a process of its own."""
    arguments = [str(folder), str(BATCH), str(CORES), str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command + arguments, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(folder: Path, rounds: int, seconds: float) -> Figures:
    """All loaders in turns, so that a busy machine slows all alike."""
    python = peers_python(folder)
    peers = str(Path(__file__).with_name("loading") / "peers.py")
    commands = {name: [sys.executable, "-m", "benchmarks.loading.ours", name] for name in OURS} | {
        name: [python, peers, name] for name in PEERS
    }
    figures: Figures = {name: [] for name in commands}
    figures |= {f"{name}, cold": [] for name in COLD}
    for turn in range(rounds):
        for name, command in commands.items():
            print(f"\rround {turn + 1} of {rounds}: {name:20}", end="", file=sys.stderr, flush=True)
            if name in COLD:
                drop_from_cache(folder / COLD[name])
                figures[f"{name}, cold"].append(measure(command, folder, COLD_S))
                warm(folder / COLD[name])
            figures[name].append(measure(command, folder, seconds))
    print(file=sys.stderr)
    return figures


def table(figures: Figures) -> str:
    """Medians, ranges and the goals."""
    lines = []
    for name, label in (OURS | PEERS).items():
        for key, suffix in ((f"{name}, cold", ", first second, cold"), (name, "")):
            if key in figures:
                rates, cpu = ([one[k] for one in figures[key]] for k in ("slices_per_s", "cpu_us"))
                spread = f"({min(rates):.0f} to {max(rates):.0f})"
                lines.append(
                    f"  {label + suffix:66}{median(rates):8.0f} {spread:18}{median(cpu):7.0f}"
                )
    for ours, other, goal in GOALS:
        theirs = other
        if other == "best peer":
            # Those that make the same changes.
            alike = [name for name in PEERS if name.endswith("-all") == ours.endswith("-all")]
            theirs = max(
                alike, key=lambda name: median(one["slices_per_s"] for one in figures[name])
            )
        turns = list(zip(figures[ours], figures[theirs], strict=True))
        rate = median(one["slices_per_s"] / two["slices_per_s"] for one, two in turns)
        cpu = median(two["cpu_us"] / one["cpu_us"] for one, two in turns)
        lines.append(
            f"  {ours} against {theirs}: {rate:.1f}x in slices a second, {cpu:.1f}x in processor "
            f"time (goal {goal:.0f}x)"
        )
    rate = median(one["slices_per_s"] for one in figures["reader"])
    lines.append(f"  reader: {rate:.0f} slices/s, an image and a mask each (goal {SLICES_PER_S})")
    return "\n".join(lines)


def main() -> None:
    """Make the slices, measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a store of 0.1 GiB, one quick turn")
    parser.add_argument("--json", type=Path, help="add every figure to this file")
    parser.add_argument("--folder", type=Path, help="where the data is made and kept")
    parser.add_argument("--rounds", type=int, help="turns of all loaders: 5, or 1 with --small")
    parser.add_argument("--part", choices=["loaders", "memory"], help="one of the two parts only")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.small else (5, 5.0)
    facts = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = LocalPath(options.folder or temporary).absolute()
        store = make_slices(folder, SMALL if options.small else FULL)
        facts["cores"], facts["slices"] = CORES, sum(volume.shape[0] for volume in store.volumes)
        files = [path for path in store.path.rglob("*") if path.is_file()]
        facts["store_gib"] = round(sum(path.stat().st_size for path in files) / 2**30, 2)
        if options.part != "memory":
            warm(folder / "bench.zarr")
            figures = run(folder, options.rounds or rounds, seconds)
            before = facts.get("figures", {})
            facts["figures"] = {name: before.get(name, []) + figures[name] for name in figures}
        if options.part != "loaders":
            make_slices(folder / "small", SMALL)
            facts["memory"] = measure([*OURS_COMMAND, "memory"], folder / "small", EPOCHS)
        facts["load"] = [*facts.get("load", []), os.getloadavg()[0]]
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1))
    print_all(facts)


def print_all(facts: dict[str, Any]) -> None:
    """The table, with what it was measured on."""
    loads = ", ".join(f"{load:.1f}" for load in facts["load"])
    if "figures" in facts:
        turns = len(facts["figures"]["pipeline"])
        print(
            f"256 x 256 int16 slices a second; {facts['slices']} slices, {facts['store_gib']} GiB "
            f"on disk, {facts['cores']} cores, load {loads}\nmedian (lowest to highest) of {turns} "
            "turns, page cache warm where it does not say cold; last column: processor time per "
            "slice, us:"
        )
        print(table(facts["figures"]))
    if "memory" in facts:
        memory = facts["memory"]
        print(
            f"  memory of the whole pipeline: {memory['first_mib']:.0f} MiB after 2 epochs, "
            f"{memory['last_mib']:.0f} MiB after {EPOCHS}"
        )


if __name__ == "__main__":
    main()
