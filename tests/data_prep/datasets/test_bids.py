"""BIDS-like trees: an MRI and a CT of every session, chosen by a rule that is told."""

import pytest

from data_prep.datasets.bids import find_in_bids
from data_prep.datasets.dataset import LINK_OUT
from mrct.errors import UsageError
from tests.support.volumes import touch_files


def test_sessions_subjects_and_both_ways_to_file_a_ct(tmp_path):
    touch_files(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/ct/sub-01_ct.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_CT.nii",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-a/func/sub-02_ses-a_task-rest_bold.nii.gz",
    )

    found = find_in_bids(tmp_path)

    assert [(v.label, v.modality, v.path.name) for v in found.volumes] == [
        ("sub-01", "mri", "sub-01_T1w.nii.gz"),
        ("sub-01", "ct", "sub-01_ct.nii.gz"),
        ("sub-02", "mri", "sub-02_ses-a_T1w.nii.gz"),
        ("sub-02", "ct", "sub-02_ses-b_CT.nii"),
    ]
    assert not any(volume.pair for volume in found.volumes)
    assert len({volume.subject for volume in found.volumes}) == 2


def test_the_mri_and_the_ct_of_one_session_are_a_pair_when_asked(tmp_path):
    touch_files(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/ct/sub-01_ses-a_ct.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
    )

    found = find_in_bids(tmp_path, paired=True)

    assert [volume.pair for volume in found.volumes] == ["sub-01/ses-a", "sub-01/ses-a", None]


def test_of_several_candidates_the_plainest_counts_and_the_others_are_counted(tmp_path):
    names = ("acq-a_run-1_T1w", "run-2_T1w", "run-1_T1w", "T2w")
    touch_files(tmp_path, *(f"sub-01/anat/sub-01_{name}.nii.gz" for name in names))

    found = find_in_bids(tmp_path)

    assert [volume.path.name for volume in found.volumes] == ["sub-01_run-1_T1w.nii.gz"]
    assert found.skipped == {
        "BIDS: further *_T1w files of a session": 2,
        "BIDS: files of another suffix (T2w)": 1,
    }


def test_the_suffix_may_name_entities_too(tmp_path):
    names = ("T1w", "ce-gadolinium_T1w", "T2w")
    touch_files(tmp_path, *(f"sub-01/anat/sub-01_{name}.nii.gz" for name in names))

    for suffix, expected in (("T2w", "T2w"), ("ce-gadolinium_T1w", "ce-gadolinium_T1w")):
        (volume,) = find_in_bids(tmp_path, mri_suffix=suffix).volumes
        assert volume.path.name == f"sub-01_{expected}.nii.gz"


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("acq-mprage_T1w", "acq-mprage_run-1_T1w"),
        ("run-2_T1w", "acq-mprage_run-2_T1w"),
        ("run-2_acq-mprage_T1w", "acq-mprage_run-2_T1w"),
        ("acq-space_T1w", "acq-space_ce-gd_run-1_T1w"),
    ],
)
def test_entities_are_found_wherever_they_stand(tmp_path, suffix, expected):
    names = ("acq-mprage_run-1_T1w", "acq-mprage_run-2_T1w", "acq-space_ce-gd_run-1_T1w")
    touch_files(tmp_path, *(f"sub-01/anat/sub-01_{name}.nii.gz" for name in names))

    (volume,) = find_in_bids(tmp_path, mri_suffix=suffix).volumes

    assert volume.path.name == f"sub-01_{expected}.nii.gz"


def test_files_may_lie_in_the_subjects_own_folder(tmp_path):
    touch_files(tmp_path, *(f"sub-0001/sub-0001_space-pet_{end}.nii.gz" for end in ("T1w", "ct")))

    found = find_in_bids(tmp_path, paired=True)

    assert [volume.pair for volume in found.volumes] == ["sub-0001", "sub-0001"]


def test_no_tree_and_no_candidate_are_told_apart(tmp_path):
    touch_files(tmp_path / "flat", "a.nii")
    with pytest.raises(UsageError, match="contains no folder sub-<label>"):
        find_in_bids(tmp_path / "flat")

    touch_files(tmp_path / "tree", "sub-01/anat/sub-01_FLAIR.nii.gz")
    with pytest.raises(UsageError, match=r"1 subject.s.*--mri-suffix T2w"):
        find_in_bids(tmp_path / "tree")


def test_links_within_the_tree_are_followed_and_links_out_of_it_are_named(tmp_path):
    outside = touch_files(tmp_path / "outside", "x.nii.gz", "anat/sub-03_T1w.nii.gz")
    root = touch_files(
        tmp_path / "bids",
        ".git/annex/1.nii.gz",
        "sub-01/anat/other.txt",
        "sub-02/anat/sub-02_ct.nii",
    )
    (root / "sub-01/anat/sub-01_T1w.nii.gz").symlink_to("../../.git/annex/1.nii.gz")
    (root / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to(outside / "x.nii.gz")
    (root / "sub-03").symlink_to(outside)

    found = find_in_bids(root)

    assert [volume.path.name for volume in found.volumes] == [
        "sub-01_T1w.nii.gz",
        "sub-02_ct.nii",
    ]
    assert found.skipped[LINK_OUT] == 2


def test_a_tree_of_links_alone_is_refused_as_such(tmp_path):
    outside = touch_files(tmp_path / "outside", "x.nii.gz")
    (tmp_path / "bids/sub-01").mkdir(parents=True)
    (tmp_path / "bids/sub-01/sub-01_T1w.nii.gz").symlink_to(outside / "x.nii.gz")

    with pytest.raises(UsageError, match="1 x Link that leads out of the folder"):
        find_in_bids(tmp_path / "bids")
