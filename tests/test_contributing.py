"""CONTRIBUTING.md names tests that exist, and each marker that keeps one out of `make test`."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[^`]+)`", PAGE)

    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_markers_are_those_of_the_makefile_and_of_the_page():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {m.split(":")[0] for m in pyproject["tool"]["pytest"]["ini_options"]["markers"]}
    (later,) = re.findall(r"^LATER := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(later.split(" or ")) == declared - {"gpu"}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == declared - {"gpu"}
