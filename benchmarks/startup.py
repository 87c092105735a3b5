"""Claim: commands answer at once: --help, --version and wrong use in 1 s, `describe` in 2 s.

A worktree of the commit REF and the files that are here take turns; each answer is a process of its
own, and the fastest of some rounds counts, since what a busy machine adds is nobody's fault.
`--version` is timed where a version knows it.

    python -m benchmarks.startup [REF] [--rounds N] [--json FILE]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.versions.side import CommandError, Side, machine, sides_of

COMMANDS = (
    "data_prep",
    "cyclegan.train",
    "cyclegan.evaluate",
    "cyclegan.export",
    "cyclegan.translate",
    "tune",
    "cluster",
)
ANSWERS = {"--help": 0, "--version": 0, "--no-such-flag": 2}
"""What is asked of each command, and the exit code of a right answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How fast both sides answered; None where a side has no such answer."""

    command: str
    before_s: float | None
    here_s: float | None

    def line(self) -> str:
        """A row of the table."""
        seconds = "".join(
            f"{'-' if each is None else f'{each:.2f}':>10}" for each in (self.before_s, self.here_s)
        )
        ratio = "-"
        if self.before_s and self.here_s:
            ratio = f"{self.before_s / self.here_s:.2f}"
        return f"{self.command:40}{seconds}{ratio:>10}"


def main(argv: list[str]) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", nargs="?", default="HEAD", help="commit to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="turns of both sides")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args(argv)
    try:
        with sides_of(options.ref) as sides, tempfile.TemporaryDirectory() as temporary:
            print(f"{sides[0].label} and {sides[1].label}; {machine()}", flush=True)
            stores = {side.label: store_of(side, Path(temporary) / side.label) for side in sides}
            print(f"{'seconds, fastest of ' + str(options.rounds):40}"
                  f"{sides[0].label:>10}{'here':>10}{'ratio':>10}", flush=True)  # fmt: skip
            answers = []
            for command, ask in make_questions(stores).items():
                times = measure_fastest(ask, sides, options.rounds)
                answers.append(Answer(command=command, before_s=times[0], here_s=times[1]))
                print(answers[-1].line(), flush=True)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        found = {"machine": machine(), "answers": [asdict(answer) for answer in answers]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def store_of(side: Side, folder: Path) -> Path:
    """A small store that the side itself made."""
    folder.mkdir()
    side.make_cohort(folder / "cohort")
    side.make_store(folder / "cohort", folder / "store.zarr", folder / "key")
    return folder / "store.zarr"


def make_questions(stores: dict[str, Path]) -> dict[str, Callable[[Side], bool]]:
    """By the command's words: asks a side, and says whether the answer was right."""

    def ask(command: str, flag: str) -> Callable[[Side], bool]:
        return lambda side: side.start(command, flag).returncode == ANSWERS[flag]

    def describe(side: Side) -> bool:
        return not side.start("data_prep describe", stores[side.label]).returncode

    answers = {f"{command} {flag}": ask(command, flag) for flag in ANSWERS for command in COMMANDS}
    return answers | {"data_prep describe STORE": describe}


def measure_fastest(
    ask: Callable[[Side], bool], sides: tuple[Side, Side], rounds: int
) -> list[float | None]:
    """The shortest time of each side, in turns; None for one that gives another answer."""
    times_s: dict[str, list[float]] = {side.label: [] for side in sides}
    wrong: set[str] = set()
    for _ in range(rounds):
        for side in sides:
            if side.label in wrong:
                continue
            began = time.perf_counter()
            right = ask(side)
            times_s[side.label].append(time.perf_counter() - began)
            if not right:
                wrong.add(side.label)
    return [None if side.label in wrong else min(times_s[side.label]) for side in sides]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
