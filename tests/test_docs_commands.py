"""Every command in a code block of the pages is one that its program accepts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyclegan.config.files import to_yaml
from cyclegan.config.presets import smoke
from tests.support.accepted import PROGRAM, refusal
from tests.test_architecture import SOURCES

ROOT = Path(__file__).resolve().parent.parent
# That of the commands is what they print for --help.
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs/commands.md"})]


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each command of this project in the page's blocks, those after `--` apart."""
    text = page.read_text().replace("\\\n", " ")
    blocks = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    for found in re.finditer(rf"(?:python|python3) -m {PROGRAM}( .*)?$", blocks, re.MULTILINE):
        words = shlex.split(found[0], comments=True)
        # Of a choice in a synopsis the first.
        words = [word.strip("[]").partition("|")[0] for word in words if word != "..."]
        while "--" in words:
            at = words.index("--")
            yield words[2:at]
            words = words[at + 1 :]
        yield words[2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_accepted_by_their_programs(page, monkeypatch, tmp_path):
    run = tmp_path / "RUNS" / "NAME"
    run.make_folder()
    (run / "config.yaml").write_text(to_yaml(smoke()))
    monkeypatch.chdir(tmp_path)
    refused = [
        (program, *arguments, error)
        for program, *arguments in commands_of(page)
        if (error := refusal(program, arguments, monkeypatch))
    ]

    assert refused == []


def test_nobody_is_told_to_install_the_project_by_its_name():
    """It is not published, and somebody else could publish something under it."""
    told = [
        (path.name, line)
        for path in (*PAGES, *SOURCES)
        for line in path.read_text().splitlines()
        if re.search(r"install\b.*\bcyclegan-mri-ct", line)
    ]

    assert told == []
