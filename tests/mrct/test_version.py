"""One version: pyproject.toml states it, the metadata carries it, the citation repeats it."""

import re
import tomllib
from pathlib import Path

from mrct.version import DISTRIBUTION, __version__

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_and_the_name_are_those_of_pyproject():
    project = PROJECT["project"]

    assert (project["name"], project["version"]) == (DISTRIBUTION, __version__)


def test_the_citation_names_the_version_and_the_licence():
    citation = (ROOT / "CITATION.cff").read_text()
    stated = dict(re.findall(r"^(version|license): (.+)$", citation, re.MULTILINE))

    assert stated == {key: PROJECT["project"][key] for key in ("version", "license")}


def test_every_package_is_marked_as_typed_and_installs_the_mark():
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = [pattern.removesuffix("*") for pattern in patterns]

    assert [name for name in packages if not (ROOT / name / "py.typed").is_file()] == []
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]
