"""What users and contributors call is documented: examples run, and Args name real parameters.

The form of the docstrings is checked by ruff (D in pyproject.toml).
"""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.stores import make_store

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "cyclegan/config",
    "cyclegan/data",
    "cyclegan/metrics",
    "cyclegan/nets",
    "data_prep/store",
)
MODULES = ("mrct/imaging/volume.py", "mrct/storage/paths.py")
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / name for name in MODULES),
        *(p for f in FOLDERS for p in (ROOT / f).glob("[!_]*.py")),
    )
)
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


def import_file(file: str) -> ModuleType:
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def public_objects(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Functions and classes defined in the module, and the methods of the classes."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        yield name, thing
        if inspect.isclass(thing):
            yield from (
                (f"{name}.{method}", getattr(thing, method))
                for method in vars(thing)
                if not method.startswith("_") and inspect.isroutine(getattr(thing, method))
            )


def documented_arguments(thing: object) -> list[str]:
    text = inspect.getdoc(thing) or ""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    return re.findall(r"^    (\w+): ", section[1], re.MULTILINE) if section else []


@pytest.mark.parametrize("file", [file for file in FILES if ">>> " in (ROOT / file).read_text()])
def test_examples_run(file, folder, monkeypatch):
    monkeypatch.chdir(folder)

    found = doctest.testmod(import_file(file), report=False)

    assert found.failed == 0, "the captured output shows the example"
    assert found.attempted == (ROOT / file).read_text().count(">>> ")


def test_args_are_the_parameters():
    checked = [
        (f"{file}: {name}", arguments, list(inspect.signature(thing).parameters))
        for file in FILES
        for name, thing in public_objects(import_file(file))
        if (arguments := documented_arguments(thing))
    ]

    assert len(checked) > 80
    assert [each for each in checked if each[1] != [p for p in each[2] if p != "self"]] == []


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
