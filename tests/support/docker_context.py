"""What `docker build .` sends of a folder, by the rules of its `.dockerignore`."""

import re
from collections.abc import Iterable

from tests.conftest import ROOT

RULES = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]


def sent_to_docker(names: Iterable[str]) -> set[str]:
    """Those of the files that no rule ignores: of the rules that match a file or a folder around
    it, the last one decides."""
    return {name for name in names if not _is_ignored(name)}


def _is_ignored(name: str) -> bool:
    parts = name.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for rule in RULES:
        pattern = _regex(rule.removeprefix("!"))
        if any(re.fullmatch(pattern, path) for path in paths):
            ignored = not rule.startswith("!")
    return ignored


def _regex(rule: str) -> str:
    anything = {"**/": "(?:.*/)?", "*": "[^/]*"}
    parts = re.split(r"(\*\*/|\*)", rule)
    return "".join(anything.get(part, re.escape(part)) for part in parts)
