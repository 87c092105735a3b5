"""A split depends on subjects alone, keeps what is fixed, and starves no domain."""

from collections import Counter

import pytest

from data_prep.datasets.split import assign_splits, read_splits
from mrct.errors import UsageError

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


def test_a_subject_of_which_nothing_is_usable_takes_no_place_of_the_quota():
    kinds = {"a": "ct", "b": "ct", "c": "ct", "d": "", "e": ""}
    splits = assign_splits(kinds, fixed={})
    assert {splits[subject] for subject in "abc"} == {"train", "val", "test"}
    assert splits["d"] == splits["e"] == "train"


def test_a_split_file_says_who_goes_where(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes("\ufeffsubject, split\r\nA,train\r\nB, Test\r\nA,train\r\n".encode())
    assert read_splits(path) == {"A": "train", "B": "test"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("subject\nA\n", "no column split"),
        ("subject,split\nJane^Canary,tain\n", "Line 2.*Its split is unknown"),
        ("subject,split\nA,train\nA,test\n", "Line 3.*subject in another split"),
        ("subject,split\nA,train\n ,test\n", "Line 3.*lacks a subject"),
    ],
)
def test_a_split_file_that_cannot_be_followed_is_wrong_use(tmp_path, text, complaint):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_splits(path)
    assert "Canary" not in str(caught.value)


def test_a_split_file_that_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_splits(tmp_path / "absent.csv")
