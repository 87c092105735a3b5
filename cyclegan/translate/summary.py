"""The summary of a translation: printed lines, a list beside the results, and a private ID map.

Messages and the list refer to inputs by number and hash; paths are only in the two private files
and on a terminal.
"""

import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cyclegan.translate.stages import TranslationOutcome
from data_prep.convert.id_map import extend_id_map
from mrct.storage.json_text import parse_json
from mrct.storage.names import printable

LIST = "translations.jsonl"


def list_result(outcome: TranslationOutcome, out: Path) -> None:
    """Add a line about a new result to the list in the folder of the results.

    Raises:
        OSError: The storage is full, also where a part of the line fitted.
    """
    assert outcome.result is not None
    line = {
        "input": outcome.input.number,
        "sha256": outcome.sha256,
        "result": outcome.result.name,
        "warnings": outcome.warnings,
        "notes": outcome.notes,
    }
    content = json.dumps(line).encode() + b"\n"
    # One write: several processes add lines.
    with (out / LIST).open("ab", buffering=0) as file:
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / LIST))


def mend_list(out: Path) -> None:
    """Drop what a kill has cut off at the end of the list; before any process adds to it."""
    path = out / LIST
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def listed_results(out: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the warnings of each result in the list, by the SHA-256 of its input and its name; an
    incomplete or damaged line is ignored."""
    path = out / LIST
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    results = {}
    for text in whole.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            line = parse_json(text)
            results[str(line["sha256"]), str(line["result"])] = tuple(map(str, line["warnings"]))
    return results


def write_translation_id_map(outcomes: Sequence[TranslationOutcome], path: Path) -> None:
    """Write or extend the table that maps results to input paths (mode 0600)."""
    rows = [
        (outcome.result.name, os.fspath(outcome.input.path.absolute()))
        for outcome in outcomes
        if outcome.result
    ]
    extend_id_map(path, ("result", "input"), rows)


def print_summary(outcomes: Sequence[TranslationOutcome], left: Counter[str], out: Path) -> None:
    """Print the results, warnings about differences from the training data, and refused inputs."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.input.number)
    made = sum(outcome.is_new for outcome in outcomes)
    refused = [outcome for outcome in outcomes if outcome.refusal]
    kept = len(outcomes) - made - len(refused)
    print(f"{made} translated, {kept} already there, {len(refused)} refused: {out}")
    for outcome in outcomes:
        where = f" {printable(str(outcome.input.path))}" if sys.stderr.isatty() else ""
        if outcome.result and sys.stderr.isatty():
            print(f"{printable(outcome.result.name)}:{where}", file=sys.stderr)
        for warning in outcome.warnings:
            named = f"Input {outcome.input.number} ({outcome.sha256[:8]})"
            print(f"warning: {named}: {printable(warning)}", file=sys.stderr)
        if outcome.refusal:
            print(f"{outcome.refusal}{where}", file=sys.stderr)
    for reason, count in left.items():
        print(f"Skipped {count}: {reason}", file=sys.stderr)
    print(after_translation(out, bool(refused)))


def after_translation(out: Path, has_refused: bool) -> str:
    """Return where to look next."""
    lines = [
        f"List, with warnings    {out / LIST}",
        f"Results and inputs     {out}.id-map.csv (private)",
    ]
    if has_refused:
        lines += [
            f"Refused, with reasons  {out}.quarantine.jsonl (private)",
            "The same command tries these again, and keeps the results.",
        ]
    return "\n".join(lines)
