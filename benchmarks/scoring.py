"""Claim: a validation volume is scored in a quarter of the processor time, with the same scores.

A worktree of the commit REF and the files that are here take turns with the same heads of
160 x 256 x 256 voxels, each in a process of its own on one thread; the networks' outputs are given.
Printed are the processor time (the least of some rounds), the memory that the scoring added, their
ratios, and the largest difference of any score. Exit code 1 where a score differs by more than
1e-6, relative to it if it is above 1.

    python -m benchmarks.scoring [REF] [--kinds K ...] [--rounds N] [--shape Z Y X] [--json FILE]
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.evaluate import Shape, head
from benchmarks.versions.contents import Arrays
from benchmarks.versions.side import HERE, CommandError, Side, machine, sides_of
from mrct.imaging.hounsfield import AIR_HU, WINDOW_HU

SCRIPT = HERE / "benchmarks/versions/score_head.py"
KINDS = ("validate-mri", "validate-ct", "evaluate-mri")
TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringComparison:
    """Both sides' costs of one kind of scoring, and how their scores differ."""

    kind: str
    before_s: float
    here_s: float
    before_gib: float
    here_gib: float
    differences: dict[str, float]
    """By score; relative where the score is above 1, infinite for one that a side lacks."""

    def line(self) -> str:
        """A row of the table."""
        name, largest = max(self.differences.items(), key=lambda item: item[1])
        ratio = self.before_s / self.here_s
        return (
            f"{self.kind:14}{self.before_s:8.2f}{self.here_s:8.2f}{ratio:8.2f}"
            f"{self.before_gib:9.2f}{self.here_gib:8.2f}   {largest:.1e} ({name})"
        )


def main(argv: list[str]) -> int:
    """Score with both sides, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", nargs="?", default="HEAD", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both sides")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--shape", type=int, nargs=3, default=(160, 256, 256))
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args(argv)
    try:
        with sides_of(options.ref) as sides, tempfile.TemporaryDirectory() as temporary:
            print(f"{sides[0].label} and {sides[1].label}; {machine()}", flush=True)
            arrays = Path(temporary) / "head.npz"
            np.savez(arrays, **outputs_of(np.random.default_rng(0), tuple(options.shape)))
            print(f"{'':14}{'core-seconds':>16}{'ratio':>8}{'GiB added':>17}   difference")
            found = []
            for kind in options.kinds:
                found.append(compare(kind, arrays, sides, options.rounds))
                print(found[-1].line(), flush=True)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        numbers = {"machine": machine(), "kinds": [asdict(each) for each in found]}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return int(any(max(each.differences.values()) > TOLERANCE for each in found))


def outputs_of(random: np.random.Generator, shape: Shape) -> Arrays:
    """A head as a middling pair of networks would give it back: blurred, and with noise."""
    scans = head(random, shape)
    body, ct = scans["body"], scans["ct"].astype(np.float32)
    blurred = gaussian_filter(ct, 0.8) + 20 * random.standard_normal(shape, np.float32)
    original = np.where(body, scans["mri"] / np.float32(500) - 1, np.float32(-1)).clip(-1, 1)
    noise = 0.05 * random.standard_normal(shape, np.float32)
    returned = np.where(body, gaussian_filter(original, 0.5) + noise, np.float32(-1)).clip(-1, 1)
    return {
        "body": body,
        "ct": scans["ct"],
        "synthetic": np.where(body, blurred.clip(*WINDOW_HU), np.float32(AIR_HU)),
        "original": original,
        "returned": returned,
    }


def compare(kind: str, arrays: Path, sides: tuple[Side, Side], rounds: int) -> ScoringComparison:
    """Score in turns; the least time of each side counts, and its largest memory."""
    runs = [
        [json.loads(side.run(str(SCRIPT), arrays, kind)) for side in sides] for _ in range(rounds)
    ]
    before, here = zip(*runs, strict=True)
    return ScoringComparison(
        kind=kind,
        before_s=min(run["seconds"] for run in before),
        here_s=min(run["seconds"] for run in here),
        before_gib=max(run["memory_gib"] for run in before),
        here_gib=max(run["memory_gib"] for run in here),
        differences=differences(before[0]["scores"], here[0]["scores"]),
    )


def differences(before: dict[str, float], here: dict[str, float]) -> dict[str, float]:
    """How far each score is from what it was."""
    return {
        name: abs(before[name] - here[name]) / max(1.0, abs(before[name]))
        if name in before and name in here
        else np.inf
        for name in before | here
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
