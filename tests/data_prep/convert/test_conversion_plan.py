"""What a layout holds becomes sources with pseudonyms and jobs with splits; names stay behind."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.convert.conversion_plan import find_volumes, name_sources, plan_jobs
from data_prep.convert.pseudonyms import Key
from data_prep.convert.settings import ConvertSettings
from data_prep.datasets.split import SPLITS
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from mrct.errors import UsageError
from tests.support.volumes import touch_files

KEY = Key(secret=b"k" * 32)
SHARES = (0.8, 0.1, 0.1)


def settings(root: Path, **changes: object) -> ConvertSettings:
    folders = {"mri": root / "mri", "ct": root / "ct"}
    return ConvertSettings(**{"out": root / "s.zarr", **folders, **changes})


def sources(root: Path, **changes: object) -> list[Source]:
    return name_sources(find_volumes(settings(root, **changes)).volumes, KEY, Leniency())


@pytest.fixture
def folder(tmp_path):
    names = [f"{modality}/Doe^{number}.nii" for modality in ("mri", "ct") for number in range(4)]
    return touch_files(tmp_path, *names)


def test_pseudonyms_hold_no_name_and_are_the_same_on_every_run(folder):
    first, again = sources(folder), sources(folder)

    assert first == again
    assert [source.number for source in first] == list(range(1, 9))
    assert not [source for source in first if "Doe" in source.name + source.subject]


def test_a_pair_is_one_job_with_the_mri_first(folder):
    jobs = plan_jobs(sources(folder, paired=True), {}, SHARES)

    assert [[source.modality for source in job.sources] for job in jobs] == [["mri", "ct"]] * 4
    assert Counter(job.split for job in jobs) == {"train": 2, "val": 1, "test": 1}


def test_pairs_that_are_asked_for_and_not_there_are_an_error(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "ct/b.nii")

    with pytest.raises(UsageError, match="no MRI and CT belong together"):
        find_volumes(settings(tmp_path, paired=True))


def test_sources_that_headers_rule_out_leave_no_split_without_a_domain(folder):
    all_of_them = sources(folder)
    jobs = plan_jobs(all_of_them, {}, SHARES)
    mri = [job for job in jobs if job.sources[0].modality == "mri"]
    (refused,) = [job.sources[0].name for job in mri if job.split == "val"]

    jobs = plan_jobs(all_of_them, {}, SHARES, unusable={refused})

    usable = [job for job in jobs if job.sources[0].name != refused]
    assert {job.split for job in usable if job.sources[0].modality == "mri"} == set(SPLITS)
    assert len(jobs) == 8


def test_a_split_file_names_subjects_as_the_layout_does(folder, tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("subject,split\nDoe^0,test\nDoe^1, Val\nnobody,train\n")

    found = find_volumes(settings(folder, split_file=path, same_subjects=True))

    wanted = {volume.label: volume.split for volume in found.volumes}
    assert wanted == {"Doe^0": "test", "Doe^1": "val", "Doe^2": None, "Doe^3": None}
    assert found.remarks == ["1 subject(s) of the split file are not among the volumes."]
    jobs = plan_jobs(name_sources(found.volumes, KEY, Leniency()), {}, SHARES)
    assert {j.split for j in jobs if j.sources[0].label == "Doe^0"} == {"test"}


def test_the_manifest_s_own_column_goes_before_the_split_file(tmp_path):
    touch_files(tmp_path, "a.nii")
    (tmp_path / "list.csv").write_text("path,modality,subject,split\na.nii,mri,one,test\n")
    (tmp_path / "splits.csv").write_text("subject,split\none,train\n")

    found = find_volumes(
        ConvertSettings(
            out=tmp_path / "s.zarr",
            manifest=tmp_path / "list.csv",
            split_file=tmp_path / "splits.csv",
        )
    )

    assert [volume.split for volume in found.volumes] == ["test"]


def test_a_split_that_is_frozen_in_the_store_cannot_be_asked_away(folder):
    some = sources(folder)
    asked = [replace(some[0], split="train"), *some[1:]]

    with pytest.raises(UsageError, match=f"{some[0].subject} is to be in train.*store has it in"):
        plan_jobs(asked, {some[0].subject: "test"}, SHARES)


def test_one_subject_cannot_be_asked_into_two_splits(folder):
    some = sources(folder, same_subjects=True)
    asked = [replace(some[0], split="train"), *some[1:4], replace(some[4], split="test"), *some[5:]]
    assert asked[0].subject == asked[4].subject

    with pytest.raises(UsageError, match="another volume of it is in train"):
        plan_jobs(asked, {}, SHARES)
