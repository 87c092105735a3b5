"""`make env` is enough for every command: the packages import nothing that only `dev` installs."""

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, distributions, packages_distributions
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLED = {canonicalize_name(each.name) for each in distributions()}


def needed(requirements: list[str]) -> set[str]:
    """The names of the distributions that pip installs for these requirements."""
    todo, seen = [Requirement(text) for text in requirements], set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name not in INSTALLED or (name, frozenset(one.extras)) in seen:
            continue
        seen.add((name, frozenset(one.extras)))
        for text in distribution(name).requires or []:
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)
            ):
                todo.append(inner)
    return {name for name, _ in seen}


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_packages_and_the_demo_import_nothing_that_only_tests_install():
    packages = [ROOT / name for name in PYPROJECT["tool"]["mypy"]["files"]]
    sources = chain.from_iterable([p] if p.is_file() else p.rglob("*.py") for p in packages)
    extras = PYPROJECT["project"]["optional-dependencies"]
    by_setting = extras["wandb"]  # the setting names the package
    users = needed(PYPROJECT["project"]["dependencies"] + by_setting)
    owners = packages_distributions()
    only_in_tests = {
        (str(path.relative_to(ROOT)), name)
        for path in sources
        for name in imported(path)
        if name in owners
        and name not in {package.name for package in packages}
        and not users & {canonicalize_name(owner) for owner in owners[name]}
    }

    assert "torch" in users
    assert "pytest" not in users
    assert not only_in_tests
