"""Claim: this version computes what another one does, to the bit.

A worktree of the commit REF and the files that are here each make a phantom cohort, a store of it,
a `deterministic` training run, an exported model and an evaluation, by their own commands and on
one machine. Compared are all voxels, body masks and affines, every tensor of the last checkpoint,
outputs of the exported networks, and scores. Exit code 1 where anything differs. SSIM is computed
by another formula since 369c4df, to the same within 1e-6; without it all is compared to the bit:

    python -m benchmarks.same_as [REF] [SETTING ...]
    python -m benchmarks.same_as 369c4df --loss.ssim.weight 0
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.versions.contents import (
    Arrays,
    checkpoint_in,
    outputs_of,
    scans_in,
    scores_in,
    volumes_in,
)
from benchmarks.versions.differences import GroupComparison, compare
from benchmarks.versions.side import CommandError, Side, machine, sides_of

TRAINING = (
    ["--train.max-steps 8"],
    ["--batch.shards 2 --batch.shard-size 1"],
    ["--generator.filters 4 --generator.blocks 1"],
    ["--critic.filters 4", "--discriminator.filters 4"],
    ["--generator.guide none", ""],
    *(
        [
            f"--loss.{term} --loss.{term}-weight {weight}",
            f"--loss.{term}.enabled --loss.{term}.weight {weight}",
        ]
        for term, weight in {"gradient": 1, "shape": 1, "structure": 1, "depth": 10}.items()
    ),
)
"""Small networks and every loss term that the preset leaves out; each setting in the spellings of
all versions, newest last."""


def make_store(side: Side, folder: Path) -> None:
    """Convert the side's own cohort; both sides make pseudonyms with one key, beside them."""
    side.make_store(folder / "cohort", folder / "store.zarr", folder.parent / "key")


def train(side: Side, folder: Path, settings: Sequence[str]) -> None:
    """A few steps on the side's own store, and the validation at the end."""
    command = "cyclegan.train deterministic"
    where = ("--data.store", folder / "store.zarr", "--run.storage", folder, "--run.name", "run")
    side.run(command, *where, *side.spelt(command, TRAINING), *settings)


def export(side: Side, folder: Path) -> None:
    """Both directions."""
    side.run("cyclegan.export", folder / "run", "--direction", "both", "--out", folder / "model")


def evaluate(side: Side, folder: Path) -> None:
    """The test split."""
    side.run("cyclegan.evaluate", folder / "run", "--out", folder / "scores")


Stage = tuple[Callable[[Side, Path], None], Callable[[Path], Arrays], str]


def stages_of(settings: Sequence[str]) -> dict[str, Stage]:
    """By name: what makes it (the training with `settings`), what reads it, and where it lies."""
    return {
        "phantom": (lambda side, folder: side.make_cohort(folder / "cohort"), scans_in, "cohort"),
        "store": (make_store, volumes_in, "store.zarr"),
        "training": (partial(train, settings=settings), checkpoint_in, "run"),
        "model": (export, outputs_of, "model"),
        "scores": (evaluate, scores_in, "scores"),
    }


def main(argv: list[str]) -> int:
    """Make and compare stage by stage, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", nargs="?", default="HEAD", help="commit to compare with")
    options, settings = parser.parse_known_args(argv)
    try:
        with sides_of(options.ref) as sides, tempfile.TemporaryDirectory() as temporary:
            print(f"{sides[0].label} and {sides[1].label}; {machine()}", flush=True)
            groups = compare_stages(sides, Path(temporary), settings)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{'what':32}{'arrays':>7}  {sides[0].label} and here")
    for group in groups:
        print(group.line())
    different = sum(len(group.different) for group in groups)
    print(f"{different} of {sum(group.total for group in groups)} arrays differ")
    return 1 if different else 0


def compare_stages(
    sides: tuple[Side, Side], folder: Path, settings: Sequence[str]
) -> list[GroupComparison]:
    """Run every stage on both sides, the training with `settings` of it."""
    groups: list[GroupComparison] = []
    stages = stages_of(settings)
    for number, (stage, (make, read, name)) in enumerate(stages.items(), 1):
        print(f"{number}/{len(stages)} {stage:10}", end="", flush=True)
        found: list[Arrays] = []
        for side in sides:
            own = folder / side.label
            own.mkdir(exist_ok=True)
            began = time.monotonic()
            make(side, own)
            found.append(read(own / name))
            print(f" {side.label} {time.monotonic() - began:.0f} s", end="", flush=True)
        print(flush=True)
        groups += compare(stage, *found)
    return groups


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
