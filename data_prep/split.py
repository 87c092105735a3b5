"""Subjects to train, val and test. A subject's modalities always stay together."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Fractions = tuple[float, float, float]
"""Shares of (train, val, test)."""


def assign_splits(
    kinds: Mapping[str, str],
    *,
    fixed: Mapping[str, Split],
    fractions: Fractions = (0.8, 0.1, 0.1),
) -> dict[str, Split]:
    """Give every subject a split; those in `fixed` keep theirs.

    `kinds` maps a subject's pseudonym to what it has ("mri", "ct", "ct+mri"): the quotas hold
    within each kind, so that no split lacks a domain. The pseudonym is a keyed hash, so its rank
    depends on neither names nor file order. From three subjects on, each split with a share gets
    at least one; with fewer, all train.
    """
    of_kind = defaultdict(list)
    for subject in sorted(kinds):
        of_kind[kinds[subject]].append(subject)
    splits = {subject: fixed[subject] for subject in kinds if subject in fixed}
    for subjects in of_kind.values():
        taken = [splits[subject] for subject in subjects if subject in splits]
        free = [subject for subject in subjects if subject not in splits]
        _, val, test = _quotas(len(subjects), fractions)
        names: list[Split] = ["val"] * max(0, val - taken.count("val"))
        names += ["test"] * max(0, test - taken.count("test"))
        names += ["train"] * len(free)
        splits |= dict(zip(free, names, strict=False))
    return splits


def _quotas(total: int, fractions: Fractions) -> tuple[int, int, int]:
    if total < len(SPLITS):
        return total, 0, 0
    _, val, test = (max(1, round(total * share)) if share else 0 for share in fractions)
    return total - val - test, val, test
