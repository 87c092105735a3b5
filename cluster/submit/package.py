"""The files of a job: an allow-list, so that no scan, store or run is sent by accident."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrct.errors import UsageError

PROJECT = Path(__file__).resolve().parents[2]
OWN_PACKAGES = ("mrct", "data_prep", "cyclegan", "tune", "cluster")
PACKAGE_PATTERNS = (
    *("*.py", "py.typed", "*.j2", "*.js", "*.schema.json"),
    *("*.yaml", "*.sh", "*.sbatch"),
)
TOP_FILES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
CONFIG_SUFFIXES = (".yaml", ".yml", ".json", ".toml")
LARGE_BYTES = 10 << 20
"""Larger files are sent only if they are named with --include."""
IGNORE_FILES = (".gitignore", ".rayignore")
"""Ray would drop what they match; they serve the project's folder, not the job."""
NAMED_AT_MOST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFiles:
    """Files that a job is sent, as paths relative to the project's folder."""

    project: Path
    sent: tuple[str, ...]
    large: tuple[str, ...]
    """Files that would be sent, but for their size."""
    unknown: tuple[str, ...]
    """Python files that git neither tracks nor ignores."""

    @property
    def size_bytes(self) -> int:
        """The size of all files that are sent."""
        return sum((self.project / name).stat().st_size for name in self.sent)

    def __str__(self) -> str:
        """Return what is sent and what is not, a line each."""
        lines = [f"{len(self.sent):,} files, {self.size_bytes / 2**20:.1f} MiB"]
        for names, reason in (
            (self.large, f"larger than {LARGE_BYTES >> 20} MiB"),
            (self.unknown, "unknown to git"),
        ):
            if names:
                more = f" and {len(names) - NAMED_AT_MOST} more" * (len(names) > NAMED_AT_MOST)
                lines.append(
                    f"Not sent, {reason}: {', '.join(names[:NAMED_AT_MOST])}{more} "
                    "(--include PATTERN sends them)"
                )
        return "\n".join(lines)

    def copy_to(self, folder: Path) -> None:
        """Copy the files below an empty folder, which then is the job's working directory."""
        for name in self.sent:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.project / name, folder / name)


def job_files(
    command: Sequence[str], include: Sequence[str] = (), project: Path = PROJECT
) -> JobFiles:
    """Choose what a job is sent.

    What git tracks, or without git the packages' own files; the configuration files that the
    command names; and what `include` adds. Links are not followed.

    Args:
        command: Command of the job; its words may name files relative to the project's folder.
        include: Patterns of further files, relative to the project's folder; `**` is any depth.
        project: The project's folder.

    Raises:
        UsageError: A pattern matches no file.
    """
    tracked = git_files(project, "--cached")
    usual = set(package_files(project) if tracked is None else tracked)
    usual |= set(named_configs(command, project))
    chosen = set(included_files(include, project))
    here = {name for name in usual | chosen if is_plain(project / name)}
    large = {name for name in here - chosen if (project / name).stat().st_size > LARGE_BYTES}
    others = git_files(project, "--others", "--exclude-standard") or []
    return JobFiles(
        project=project,
        sent=tuple(sorted(here - large)),
        large=tuple(sorted(large)),
        unknown=tuple(sorted({name for name in others if name.endswith(".py")} - here)),
    )


def is_plain(path: Path) -> bool:
    """Return whether a path is a file to send: no link, and no rule of what to ignore."""
    return path.is_file() and not path.is_symlink() and path.name not in IGNORE_FILES


def git_files(project: Path, *which: str) -> list[str] | None:
    """Return what `git ls-files` lists; None if the folder is not the top of a git work tree."""
    if not (project / ".git").exists():
        return None
    try:
        listed = subprocess.run(
            ["git", "-C", str(project), "ls-files", "-z", *which], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # no git here, or the work tree of somebody
        return None
    return [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def package_files(project: Path) -> Iterator[str]:
    """Yield the files that the packages consist of, and what installs them."""
    for name in TOP_FILES:
        if (project / name).exists():
            yield name
    for package in OWN_PACKAGES:
        for pattern in PACKAGE_PATTERNS:
            yield from relative(project, (project / package).rglob(pattern))
    yield "cluster/Dockerfile"


def named_configs(command: Sequence[str], project: Path) -> Iterator[str]:
    """Yield the configuration files below the project's folder that a command names."""
    for word in command:
        value = word.partition("=")[2] if word.startswith("--") else word
        path = project / value
        if Path(value).suffix in CONFIG_SUFFIXES and path.is_file():
            yield from relative(project, [path])


def included_files(patterns: Sequence[str], project: Path) -> Iterator[str]:
    """Yield what the patterns match; each must match a file."""
    for pattern in patterns:
        try:
            found = [path for path in project.glob(pattern) if path.is_file()]
        except (ValueError, NotImplementedError):  # an empty or an absolute pattern
            found = []
        if not found:
            raise UsageError(
                f"--include {pattern} matches no file below {project}. Give a path or pattern "
                "relative to that folder, in quotes, such as 'data/**/*.csv'."
            )
        yield from relative(project, found)


def relative(project: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Yield paths relative to the project's folder; paths outside of it are left out."""
    for path in paths:
        if path.resolve().is_relative_to(project.resolve()):
            yield path.resolve().relative_to(project.resolve()).as_posix()
