"""Assigns subjects to train, val and test; both modalities of a subject share a split."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from mrct.errors import UsageError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SubjectRule = Literal["id", "study", "folder"]
"""What tells the subject of a DICOM series: its PatientID, its study, or its folder."""
Fractions = tuple[float, float, float]
"""Fractions of (train, val, test), which sum to 1."""


def assign_splits(
    kinds: Mapping[str, str],
    *,
    fixed: Mapping[str, Split],
    fractions: Fractions = (0.8, 0.1, 0.1),
) -> dict[str, Split]:
    """Assign a split to every subject; those in `fixed` keep theirs.

    `kinds` maps a subject's pseudonym to its modalities ("mri", "ct", "ct+mri"): the quotas hold
    within each kind, so that no split lacks a domain. A subject without a usable volume has the
    kind "", does not count towards a quota, and is assigned to train. The pseudonym is a keyed
    hash, so its rank depends on neither names nor file order. From three subjects on, each split
    with a fraction above 0 gets at least one; with fewer, all are assigned to train.
    """
    of_kind = defaultdict(list)
    for subject in sorted(kinds):
        of_kind[kinds[subject]].append(subject)
    splits = {subject: fixed[subject] for subject in kinds if subject in fixed}
    for kind, subjects in of_kind.items():
        taken = [splits[subject] for subject in subjects if subject in splits]
        free = [subject for subject in subjects if subject not in splits]
        _, val, test = _quotas(len(subjects), fractions) if kind else (0, 0, 0)
        names: list[Split] = ["val"] * max(0, val - taken.count("val"))
        names += ["test"] * max(0, test - taken.count("test"))
        names += ["train"] * len(free)
        splits |= dict(zip(free, names, strict=False))
    return splits


def read_splits(path: Path) -> dict[str, Split]:
    """Read a split file: CSV with the columns `subject` and `split`, subjects as in the layout.

    Raises UsageError, with the line number and never its contents, for an invalid file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The split file cannot be read: {getattr(error, 'strerror', 'it is not UTF-8 text')} "
            f"({path}). Give a CSV file with the columns subject,split."
        ) from error
    lines = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if missing := {"subject", "split"} - set(lines.fieldnames or ()):
        raise UsageError(
            f"The split file {path} has no column {', '.join(sorted(missing))}: its first line "
            "must name the columns. Begin it with subject,split."
        )
    splits: dict[str, Split] = {}
    for line in lines:
        subject = (line["subject"] or "").strip()
        split = next((s for s in SPLITS if s == (line["split"] or "").strip().lower()), None)
        if not subject or split is None or splits.setdefault(subject, split) != split:
            found = "It lacks a subject" if not subject else "Its split is unknown"
            if subject and split:
                found = "An earlier line has its subject in another split"
            raise UsageError(
                f"Line {lines.line_num} of the split file {path}: {found}. Scores on a subject "
                f"that was trained on mean nothing. Write one of {', '.join(SPLITS)} for each "
                "subject, once."
            )
    return splits


def _quotas(total: int, fractions: Fractions) -> tuple[int, int, int]:
    if total < len(SPLITS):
        return total, 0, 0
    _, val, test = (max(1, round(total * share)) if share else 0 for share in fractions)
    return total - val - test, val, test
