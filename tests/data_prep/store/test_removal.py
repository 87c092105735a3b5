"""A removed subject is gone from the store, stays away, and what saw it can be listed."""

import json

import pytest

from data_prep.__main__ import main
from data_prep.convert.pseudonyms import Key, find_subject
from data_prep.store.check import check
from data_prep.store.commits import frozen_splits, removed_subjects
from data_prep.store.removal import remove_subject
from data_prep.store.store import open_store
from data_prep.store.subject_record import folders_that_saw, subjects_of, write_subjects
from mrct.errors import ExitCode, NoStoreError, UsageError
from mrct.storage.local_path import LocalPath
from tests.support.conversions import run
from tests.support.stores import make_store
from tests.support.volumes import write_head


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "s.zarr", mri=3, ct=2, paired=1, shape=(4, 32, 32))


def test_nothing_of_a_removed_subject_is_left_but_its_pseudonym(store):
    pair = next(volume for volume in store.volumes if volume.link)
    others = [v.to_json() for v in store.volumes if v.subject != pair.subject]

    names = remove_subject(store.path, pair.subject)

    assert sorted(names) == sorted([pair.name, pair.link])
    after = open_store(store.path)
    assert [volume.to_json() for volume in after.volumes] == others
    assert check(after, full=True) == []
    assert pair.subject not in frozen_splits(store.path)
    holders = [p for p in store.path.rglob("*") if pair.subject in str(p)]
    holders += [p for p in store.path.rglob("*") if p.is_file()]
    telling = [p.name for p in holders if p.is_file() and pair.subject.encode() in p.read_bytes()]
    assert telling == ["removed.json"]
    assert not [p for p in holders if pair.subject in p.name]


def test_the_same_convert_does_not_take_the_subject_in_again(tmp_path):
    for number in range(3):
        write_head(tmp_path / f"mri/{number}.nii", "mri", number)
    settings = {"mri": tmp_path / "mri", "out": tmp_path / "s.zarr"}
    _, store = run(**settings)
    subject = store.volumes[0].subject

    remove_subject(store.path, subject)
    report, again = run(**settings)

    assert (report.written, report.kept) == (0, 2)
    assert report.skipped == {"volume of a subject that was removed from this store": 1}
    assert subject not in {volume.subject for volume in again.volumes}


def test_the_last_subject_leaves_a_store_that_remembers_it(tmp_path):
    write_head(tmp_path / "mri/a.nii", "mri")
    settings = {"mri": tmp_path / "mri", "out": tmp_path / "s.zarr"}
    _, store = run(**settings)

    remove_subject(store.path, store.volumes[0].subject)
    report, _ = run(**settings)

    assert (report.written, report.is_empty) == (0, False)


def test_the_command_takes_the_name_of_the_data_set_and_lists_runs(tmp_path, capsys):
    for name in ("anna", "bert"):
        write_head(tmp_path / f"mri/{name}.nii", "mri", len(name) + ord(name[0]))
    _, store = run(mri=tmp_path / "mri", out=tmp_path / "s.zarr")
    (tmp_path / "runs/one").mkdir(parents=True)
    write_subjects(LocalPath(tmp_path / "runs/one"), subjects_of(store))
    capsys.readouterr()
    words = ["remove", str(tmp_path / "s.zarr"), "--subject", "anna"]

    assert main([*words, "--dry-run"]) == ExitCode.DONE
    assert len(open_store(store.path).volumes) == 2
    assert main([*words, "--runs", str(tmp_path / "runs")]) == ExitCode.DONE

    told = capsys.readouterr().out
    assert "Would remove" in told
    assert f"{tmp_path / 'runs/one'}: train" in told
    assert "anna" not in told
    assert len(open_store(store.path).volumes) == 1
    assert main(words) == ExitCode.DONE  # again, as after a kill


def test_runs_and_models_are_listed_by_what_they_were_shown(tmp_path):
    def folder(name: str, mark: str, **uses: list[str]) -> None:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / mark).touch()
        if uses:
            write_subjects(LocalPath(tmp_path / name), uses)

    folder("a", "config.yaml", train=["p"], val=["q"])
    folder("a/model_to_ct", "model.json", train=["q"], val=["p"])
    folder("b", "config.yaml", train=["q"])
    folder("c", "config.yaml")

    lines = list(folders_that_saw("p", [LocalPath(tmp_path)]))

    assert lines == [
        f"{tmp_path / 'a'}: train",
        f"{tmp_path / 'a/model_to_ct'}: val",
        f"{tmp_path / 'c'}: unknown, since it has no sound subjects.json",
    ]


def test_the_record_is_plain_json_of_pseudonyms(store, tmp_path):
    write_subjects(LocalPath(tmp_path), subjects_of(store), {"train": ["from-another-run"]})

    record = json.loads((tmp_path / "subjects.json").read_text())

    assert set(record) == {"schema", "train", "val"}
    assert set(record["train"]) == {v.subject for v in store.volumes} | {"from-another-run"}


def test_a_name_is_found_only_where_it_is_one_subject():
    key = Key(secret=b"k" * 32)
    mri, ct, dicom = (key.pseudonym("subject", name) for name in ("mri 1", "ct 1", "ID\0"))

    assert find_subject(mri, {mri, ct}, None) == mri
    assert find_subject("ID", {mri, ct, dicom}, key) == dicom
    assert find_subject("1", {mri}, key) == mri
    with pytest.raises(UsageError, match="belongs to 2 subjects"):
        find_subject("1", {mri, ct}, key)
    with pytest.raises(UsageError, match="no subject of this pseudonym") as refused:
        find_subject("Doe", {mri, ct}, key)
    assert "Doe" not in str(refused.value)


def test_wrong_use_removes_nothing(store, tmp_path):
    with pytest.raises(UsageError, match="There is no key file"):
        main(["remove", str(store.path), "--subject", "x", "--key-file", str(tmp_path / "no.key")])
    with pytest.raises(NoStoreError):
        main(["remove", str(tmp_path / "none.zarr"), "--subject", "x"])
    assert removed_subjects(store.path) == set()
    assert not (tmp_path / "no.key").exists()
