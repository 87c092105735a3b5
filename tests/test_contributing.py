"""CONTRIBUTING.md names files that exist, and each marker that keeps a test out of `make test`."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[^`]+)`", PAGE)

    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_file_that_the_walks_change_is_there_and_holds_what_they_name():
    (walks,) = re.findall(r"^## Three walks\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```$", "", walks, flags=re.MULTILINE | re.DOTALL)
    files = {name: ROOT / name for name in re.findall(r"`([\w/]+/[\w.]+\.\w+)`", text)}
    names = set(re.findall(r"`(test_\w+|[A-Z]\w+|all_\w+)`", text))

    assert len(files) > 20
    assert [name for name, path in files.items() if not path.is_file()] == []
    contents = "\n".join(path.read_text() for path in files.values())
    assert len(names) > 10
    assert [name for name in names if not re.search(rf"\b{name}\b", contents)] == []


def test_the_markers_are_those_of_the_makefile_and_of_the_page():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {m.split(":")[0] for m in pyproject["tool"]["pytest"]["ini_options"]["markers"]}
    (later,) = re.findall(r"^LATER := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(later.split(" or ")) == declared - {"gpu"}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == declared - {"gpu"}
