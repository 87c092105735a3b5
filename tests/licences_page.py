"""Generates docs/licences.md from the metadata of the packages that are installed.

python -m tests.licences_page      regenerates the page
"""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/licences.md"
PROJECT = "cyclegan-mri-ct"
COPYLEFT = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
"""What no dependency of an Apache-2.0 project may have; MPL and LGPL leave the project its own."""
HEAD = """# Licences

The project is licensed under Apache 2.0. It is installed with the packages below, by the licence
that each states in its metadata; packages with code of others in their wheels (imagecodecs, numpy,
scipy, SimpleITK, torch, ...) ship those licences too. None is under the GPL.
`python -m tests.licences_page` writes this page, and a test compares it with what is installed.

"""
TRACKERS = """
## For `--debug.tracker`

`wandb` is installed by choice alone (the extra `wandb`); by its metadata of 1 December 2026 it is
under MIT. `mlflow` needs no package here: the run speaks to a server of yours.
"""
CUDA = """
## With CUDA

The CUDA build of torch installs these too. By their metadata of 30 November 2026, cuda-bindings,
cuda-pathfinder and nvidia-nvtx are under Apache 2.0 and triton, which comes beside them, under MIT;
the others, and nvidia-nvjpeg, -nvjpeg2k, -nvtiff and -libnvcomp above, are NVIDIA's proprietary
software. Read its terms before you pass on an image that contains them.

"""


def canonical(name: str) -> str:
    """The name of a package as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies() -> dict[str, Distribution]:
    """What the project is installed with, `[s3]` included; by name, sorted."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    ahead: list[tuple[str, frozenset[str]]] = [(PROJECT, frozenset({"s3"}))]
    while ahead:
        if (here := ahead.pop()) in seen:
            continue
        seen.add(here)
        name, extras = here
        found[name] = distribution(name)
        ahead += [
            (canonical(each.name), frozenset(each.extras))
            for each in map(Requirement, found[name].requires or [])
            if each.marker is None
            or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]
    del found[PROJECT]
    return dict(sorted(found.items()))


def licence_of(package: Distribution) -> str:
    """The licence in its metadata: the expression, else the classifiers, else the first line."""
    stated = package.metadata
    if expression := stated.get("License-Expression"):
        return str(expression)
    classes = [str(each).split(" :: ") for each in stated.get_all("Classifier") or []]
    named = [each[-1] for each in classes if each[0] == "License" and len(each) > 2]
    return " or ".join(named) or str(stated.get("License", "")).partition("\n")[0].strip()


def rows() -> Iterator[str]:
    """Table of packages that are installed with any build of torch."""
    yield "| package | licence |"
    yield "| --- | --- |"
    for name, package in dependencies().items():
        yield f"| {name} | {licence_of(package)} |"


def of_nvidia() -> list[str]:
    """Packages for CUDA among the pins that only the CUDA build of torch needs."""
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    named = sorted(name for name in map(canonical, pins) if re.match("nvidia-|cuda-", name))
    return [name for name in named if name not in dependencies()]


def page() -> str:
    """The whole page."""
    installed, for_cuda = "\n".join(rows()), "\n".join(f"- {each}" for each in of_nvidia())
    return f"{HEAD}{installed}\n{TRACKERS}{CUDA}{for_cuda}\n"


if __name__ == "__main__":
    PAGE.write_text(page())
