"""A split depends on subjects alone, keeps what is fixed, and starves no domain."""

from collections import Counter

from data_prep.split import assign_splits

KINDS = {f"{n:04x}": "mri" if n % 2 else "ct" for n in range(40)}


def counts(splits, kind, kinds=KINDS) -> Counter:
    return Counter(splits[subject] for subject in kinds if kinds[subject] == kind)


def test_quotas_hold_within_each_kind():
    splits = assign_splits(KINDS, fixed={})
    assert counts(splits, "mri") == {"train": 16, "val": 2, "test": 2}
    assert counts(splits, "ct") == {"train": 16, "val": 2, "test": 2}


def test_the_order_of_subjects_does_not_matter():
    assert assign_splits(dict(reversed(KINDS.items())), fixed={}) == assign_splits(KINDS, fixed={})


def test_three_subjects_fill_three_splits_and_two_only_train():
    assert set(assign_splits(dict.fromkeys("abc", "ct"), fixed={}).values()) == {
        "train",
        "val",
        "test",
    }
    assert set(assign_splits(dict.fromkeys("ab", "ct"), fixed={}).values()) == {"train"}


def test_fixed_subjects_keep_their_split_and_count_towards_the_quota():
    fixed = dict.fromkeys(list(KINDS)[:8], "test")
    splits = assign_splits(KINDS, fixed=fixed)
    assert fixed.items() <= splits.items()
    assert counts(splits, "mri") == {"train": 14, "val": 2, "test": 4}


def test_subjects_that_come_later_leave_the_earlier_ones_where_they_are():
    first = assign_splits(dict(list(KINDS.items())[:12]), fixed={})
    assert first.items() <= assign_splits(KINDS, fixed=first).items()


def test_a_share_of_zero_gives_an_empty_split():
    splits = assign_splits(KINDS, fixed={}, fractions=(1.0, 0.0, 0.0))
    assert set(splits.values()) == {"train"}
