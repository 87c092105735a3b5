"""Docstrings of what users and contributors call: examples run, Args are the parameters.

The form of the docstrings is checked by ruff (D in pyproject.toml).
"""

import ast
import doctest
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import make_store

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "cyclegan/atlas",
    "cyclegan/config",
    "cyclegan/data",
    "cyclegan/metrics",
    "cyclegan/nets",
    "data_prep/store",
)
MODULES = ("mrct/imaging/volume.py", "mrct/storage/paths.py")
FILES = [*MODULES, *(str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.py"))]
WITH_EXAMPLES = sorted(file for file in FILES if ">>> " in (ROOT / file).read_text())
RUFF = Path(sys.executable).with_name("ruff")
UNDOCUMENTED = '''"""A module."""


def nothing() -> None:
    pass


def participle() -> None:
    """Returns nothing."""


def half(a: int, b: int) -> None:
    """Take two.

    Args:
        a: The first.
    """
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the store that examples open."""
    folder = tmp_path_factory.mktemp("examples")
    make_store(folder / "brain.zarr")
    return folder


@pytest.mark.parametrize("file", WITH_EXAMPLES)
def test_examples_run(file, folder, monkeypatch):
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    monkeypatch.chdir(folder)

    found = doctest.testmod(module, report=False)

    assert found.failed == 0, "the captured output shows the example"
    assert found.attempted == (ROOT / file).read_text().count(">>> ")


def test_args_are_the_parameters():
    checked = [
        (f"{file}: {name}", arguments, parameters)
        for file in FILES
        for name, arguments, parameters in documented_parameters((ROOT / file).read_text())
    ]

    assert len(checked) > 100
    assert [each for each in checked if each[1] != each[2]] == []


def documented_parameters(code: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, Args and parameters of each function that has Args, and of the classes' __init__."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        if section := re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE):
            arguments = re.findall(r"^    (\w+): ", section[1], re.MULTILINE)
            yield node.name, arguments, parameters_of(node)


def parameters_of(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    if isinstance(node, ast.ClassDef):
        functions = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        return parameters_of(functions["__init__"]) if "__init__" in functions else []
    # All are annotated but self and cls.
    return [each.arg for each in (*node.args.args, *node.args.kwonlyargs) if each.annotation]


@pytest.mark.parametrize("part", [*(f"{folder}/new.py" for folder in FOLDERS), *MODULES])
def test_ruff_refuses_other_docstrings(part):
    found = subprocess.run(
        [RUFF, "check", "--no-cache", "--output-format", "concise", "--stdin-filename", part, "-"],
        cwd=ROOT,
        input=UNDOCUMENTED,
        capture_output=True,
        text=True,
    )

    rules = set(re.findall(r" (D\d+) ", found.stdout))
    assert rules == {"D103", "D401", "D417"}, found.stdout + found.stderr
