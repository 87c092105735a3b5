"""What git would keep of a folder, by the project's own `.gitignore`."""

import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT


def git(project: Path, *words: str) -> str:
    """Run git in a folder, without the settings of the user."""
    command = ["git", "-C", str(project), "-c", "core.excludesFile=/dev/null", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kept_by_git(folder: Path) -> list[str]:
    """The files that `git add --all` would add in a copy of the project that holds this folder."""
    shutil.copy(ROOT / ".gitignore", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    return [name for name in git(folder, "ls-files").splitlines() if name != ".gitignore"]
