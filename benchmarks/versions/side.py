"""Two versions of the project side by side: a worktree of a commit, and the files that are here.

Each runs its commands in processes of their own, in its own tree, with the same interpreter.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
COHORT = (
    *("--num-train-mri", "2", "--num-train-ct", "2", "--num-val", "1", "--num-test", "1"),
    *("--in-plane-mm", "4", "--slice-mm", "6", "--anatomy-mm", "4"),
)
"""Six small heads, two of them with an aligned MRI and CT."""
GRID = ("--spacing-mm", "6", "4", "4", "--size", "64", "64", "--workers", "0")


class CommandError(Exception):
    """A command of one side failed; the message says which, and the last lines that it printed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One version of the project."""

    label: str
    tree: Path

    def start(self, command: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run `python -m command`, or a file `command.py`, to its end, whatever its exit code."""
        # -P: the folder of a file, which may be of the other version, is not searched for modules.
        words = ["-P", command] if command.endswith(".py") else ["-m", *command.split()]
        return subprocess.run(
            [sys.executable, *words, *map(str, arguments)],
            cwd=self.tree,
            # Wide, so that --help breaks no flag; one thread, so that sums have one order.
            env=os.environ
            | {"PYTHONPATH": str(self.tree), "COLUMNS": "400", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def run(self, command: str, *arguments: object) -> str:
        """What `python -m command`, or a file `command.py`, prints.

        Raises:
            CommandError: Its exit code is not 0.
        """
        ended = self.start(command, *arguments)
        if ended.returncode:
            words = " ".join(["python -m", command, *map(str, arguments)])
            last = "\n".join((ended.stdout + ended.stderr).splitlines()[-20:])
            raise CommandError(f"{self.label}: exit code {ended.returncode} of\n  {words}\n{last}")
        return ended.stdout

    def spelt(self, command: str, settings: Sequence[Sequence[str]]) -> list[str]:
        """The flags of `settings` as this version spells them, found in the command's help.

        Each setting is a list of spellings, such as "--discriminator.filters 4".

        Raises:
            CommandError: This version knows none of a setting's spellings.
        """
        text = self.run(command, "--help")
        if "--help-all" in text:
            text += self.run(command, "--help-all")
        known = set(re.findall(r"--[\w.-]+", text))
        flags: list[str] = []
        for spellings in settings:
            fits = [words for words in map(str.split, spellings) if known.issuperset(_names(words))]
            if not fits:
                raise CommandError(
                    f"{self.label}: `python -m {command}` knows none of: {', '.join(spellings)}. "
                    "Add this version's spelling."
                )
            flags += fits[0]
        return flags

    def make_cohort(self, out: Path) -> None:
        """Write phantom scans and `manifest.csv`."""
        self.run("data_prep phantom", "--out", out, *COHORT)

    def make_store(self, cohort: Path, out: Path, key: Path) -> None:
        """Convert a cohort to a store, with pseudonyms of the key (made where there is none)."""
        manifest = cohort / "manifest.csv"
        self.run(
            "data_prep convert", "--manifest", manifest, "--out", out, "--key-file", key, *GRID
        )


def _names(words: Sequence[str]) -> list[str]:
    return [word for word in words if word.startswith("--")]


@contextmanager
def sides_of(ref: str) -> Iterator[tuple[Side, Side]]:
    """The commit `ref` in a worktree, removed at the end, and the working tree as it is.

    Raises:
        CommandError: There is no such commit.
    """
    found = _git("rev-parse", "--verify", "--quiet", "--short", f"{ref}^{{commit}}")
    if found.returncode:
        raise CommandError(f"there is no commit {ref!r} in {HERE}")
    commit = found.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="versions-") as temporary:
        tree = Path(temporary).resolve() / commit
        made = _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        if made.returncode:
            raise CommandError(f"no worktree of {commit}: {made.stderr.strip()}")
        try:
            yield Side(label=commit, tree=tree), Side(label="here", tree=HERE)
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)


def machine() -> str:
    """The processor, the cores that this process may use, and how busy they are."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    cores = len(os.sched_getaffinity(0))
    return f"{model[1] if model else 'unknown CPU'}, {cores} cores, load {os.getloadavg()[0]:.1f}"
