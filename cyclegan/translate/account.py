"""What a translation tells: lines for people, a list beside the results, and who is who in private.

Messages and the list name inputs by number and hash; paths stand in the two private files, and on
a terminal.
"""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cyclegan.translate.job import Outcome
from data_prep.atomic import write_atomic

LIST = "translations.jsonl"
_COLUMNS = ("result", "input")


def list_result(outcome: Outcome, out: Path) -> None:
    """Add a line about a new result to the list in the folder of the results."""
    assert outcome.result is not None
    line = {
        "input": outcome.input.number,
        "sha256": outcome.sha256,
        "result": outcome.result.name,
        "warnings": outcome.warnings,
        "notes": outcome.notes,
    }
    with (out / LIST).open("a") as file:
        file.write(json.dumps(line) + "\n")


def write_id_map(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write, or extend, the table of which result was made of which input; 0600."""
    rows: dict[str, str] = {}
    if path.exists():
        old = csv.DictReader(io.StringIO(path.read_text("utf-8", "surrogateescape")))
        rows = {row["result"]: row["input"] for row in old if row.keys() >= set(_COLUMNS)}
    for outcome in outcomes:
        if outcome.result:
            rows[outcome.result.name] = os.fspath(outcome.input.path.absolute())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(sorted(rows.items()))
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)


def report(outcomes: Sequence[Outcome], left: Counter[str], out: Path) -> None:
    """Print what was made, what is unlike the training data, and what was left out."""
    made = sum(outcome.is_new for outcome in outcomes)
    refused = [outcome for outcome in outcomes if outcome.refusal]
    kept = len(outcomes) - made - len(refused)
    print(f"{made} made, {kept} there already, {len(refused)} left out: {out}")
    for outcome in outcomes:
        where = f" {outcome.input.path}" if sys.stderr.isatty() else ""
        if outcome.result and sys.stderr.isatty():
            print(f"{outcome.result.name}:{where}", file=sys.stderr)
        for warning in outcome.warnings:
            named = f"input {outcome.input.number} ({outcome.sha256[:8]})"
            print(f"warning: {named}: {warning}", file=sys.stderr)
        if outcome.refusal:
            print(f"left out: {outcome.refusal}{where}", file=sys.stderr)
    for reason, count in left.items():
        print(f"not looked at: {count} x {reason}", file=sys.stderr)
