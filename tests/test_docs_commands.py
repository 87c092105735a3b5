"""Every command in a code block of the pages is one that its program accepts."""

import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import mrct.cli
from cyclegan.config.files import to_yaml
from cyclegan.config.presets import smoke
from mrct.cli import apply_shared_options

ROOT = Path(__file__).resolve().parent.parent
# That of the commands is what they print for --help.
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs/commands.md"})]
PROGRAM = r"(data_prep|cyclegan\.\w+|tune|cluster)"


class ParsedError(Exception):
    """Raised once all arguments are accepted, in the place of the work."""


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


def only(parse: Callable[..., object]) -> Callable[..., NoReturn]:
    """That stops where the work would begin."""

    def parse_only(*arguments, **options):
        raise ParsedError(parse(*arguments, **options))

    return parse_only


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_accepted_by_their_programs(page, monkeypatch, tmp_path):
    run = tmp_path / "RUNS" / "NAME"
    run.make_folder()
    (run / "config.yaml").write_text(to_yaml(smoke()))
    monkeypatch.chdir(tmp_path)
    refused = []
    for program, *arguments in commands_of(page):
        module = importlib.import_module(f"{program}.__main__")
        for name in {"parse", "parse_group"} & vars(module).keys():
            monkeypatch.setattr(module, name, only(getattr(mrct.cli, name)))
        try:
            module.main(apply_shared_options(arguments))
        except ParsedError:
            continue
        except (SystemExit, Exception) as error:
            refused.append((program, *arguments, error))

    assert refused == []
