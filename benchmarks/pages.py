"""Tables that a command writes into a page of docs/, between two comments with its name."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a table whose first column is text, and the others numbers."""
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *rows))


def block_pattern(name: str) -> re.Pattern[str]:
    """Match what stands between the comments of a name."""
    return re.compile(rf"(?<=<!-- begin {name} -->\n).*?(?=\n<!-- end {name} -->)", re.DOTALL)


def block_of(page: str, name: str) -> str:
    """Return what stands between the comments of a name."""
    found = block_pattern(name).search((DOCS / page).read_text())
    assert found, f"docs/{page} has no block {name}"
    return found[0].strip()


def write_block(page: str, name: str, text: str) -> None:
    """Replace what stands between the comments of a name."""
    path = DOCS / page
    block_of(page, name)
    path.write_text(block_pattern(name).sub(lambda _: f"\n{text}\n", path.read_text()))
