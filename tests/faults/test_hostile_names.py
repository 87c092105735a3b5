"""A crafted store, checkpoint, run, search or bucket cannot lead a command out of its folder.

Everything beside the store is kept, to the byte, whatever name a record, a file, an index, a
manifest, a configuration or a log states, and by every command that follows names.
"""

import json
import shutil
from pathlib import Path

import fsspec
import pytest

from cyclegan.config.config import RunConfig
from cyclegan.errors import CheckpointError, ConfigError
from cyclegan.train.checkpoint.folder import remove_partial_checkpoints, verify_checkpoint
from data_prep.__main__ import main
from data_prep.store.check import check
from data_prep.store.commits import COMMITS, commit_path, read_commit, read_commits, seal
from data_prep.store.history import index_of
from data_prep.store.index import INDEX
from data_prep.store.store import Store, open_store
from mrct.errors import StoreError, UserError
from mrct.storage.object_path import ObjectPath
from tests.faults.converted import contents, run
from tests.support.hostile import HOSTILE_NAMES
from tests.support.searches import write_search
from tune.search.event_log import EventLog

FILES = ("..-.json", "..-beside.json", "mri-.json", "mri-...json", "ct-..json", "-.json", "x.json")
"""Names of files that a reader of records would turn into `../`, `../beside`, `mri/`, ..."""


@pytest.fixture
def nested(store: Store, tmp_path: Path) -> Store:
    """A copy of the store in a folder of its own, with something to lose beside it."""
    (tmp_path / "outer/beside").mkdir(parents=True)
    (tmp_path / "outer/beside/kept").write_bytes(b"kept")
    (tmp_path / "outer/0123456789abcdef").write_bytes(b"kept")
    return open_store(shutil.move(store.path, tmp_path / "outer/s.zarr"))


def beside(store: Store) -> dict[str, bytes]:
    outer = store.path.parent.parent
    return {name: content for name, content in contents(outer).items() if "/s.zarr/" not in name}


def volumes(store: Store) -> dict[str, bytes]:
    return {name: content for name, content in contents(store.path).items() if COMMITS not in name}


def state_record(store: Store, victim: str, key: str, name: str) -> None:
    """Let the record of a volume state another name, under a seal that fits."""
    path = commit_path(store.path, victim)
    record = json.loads(path.read_bytes())
    del record["sha256"]
    record["volume"] |= {key: name}
    path.write_bytes(seal(record))


def commands(store: Store, inputs: Path) -> None:
    """Every command that reads or deletes by the names of a store."""
    path, subject = str(store.path), store.volumes[0].subject
    tried = [
        lambda: main(["check", path]),
        lambda: main(["describe", path, "--notes"]),
        lambda: main(["check", path, "--repair"]),
        lambda: run(inputs, store.path, repair=True),
        lambda: main(["remove", path, "--subject", subject]),
    ]
    for command in tried:
        try:
            command()
        except UserError:  # a plain refusal is as good
            continue


@pytest.mark.parametrize("file", FILES)
def test_a_file_among_the_records_deletes_nothing(inputs, nested, file):
    outside, inside = beside(nested), volumes(nested)
    (nested.path / COMMITS / file).write_bytes(b"{}")

    problems = check(nested)
    main(["check", str(nested.path), "--repair"])
    run(inputs, nested.path, repair=True)

    assert beside(nested) == outside
    assert volumes(nested) == inside
    assert [repr(f"{COMMITS}/{file}") in problem for problem in problems] == [True]
    assert (nested.path / COMMITS / file).exists()  # not known, so not deleted


@pytest.mark.parametrize("key", ["name", "link"])
@pytest.mark.parametrize("name", ["../beside", "mri/"])
def test_a_sealed_record_of_another_name_leads_nowhere(inputs, nested, name, key):
    outside = beside(nested)
    victim = nested.volumes[0].name
    state_record(nested, victim, key, name)

    commands(nested, inputs)

    assert beside(nested) == outside
    assert check(open_store(nested.path), full=True) == []


@pytest.mark.parametrize("key", ["name", "link"])
def test_no_hostile_name_is_read_from_a_record_or_an_index(nested, key):
    victim = nested.volumes[0].name
    record = read_commit(nested.path, victim)
    for name in HOSTILE_NAMES:
        state_record(nested, victim, key, name)
        with pytest.raises(StoreError):
            read_commits(nested.path)
        if "\0" in name or not name:  # the end of a text, and no link, in the columns of an index
            continue
        crafted = record | {"volume": record["volume"] | {key: name}}
        (nested.path / INDEX).put(index_of([crafted], nested.axis))
        with pytest.raises(StoreError, match="could lead to other files"):
            open_store(nested.path).volumes[0]


@pytest.mark.parametrize("folder", ["mri", "ct", COMMITS])
def test_a_link_out_of_the_store_is_not_followed_by_what_deletes(inputs, nested, folder):
    elsewhere = nested.path.parent / "beside" / folder
    shutil.move(nested.path / folder, elsewhere)
    (elsewhere / ".partial-0123-x").mkdir()
    (nested.path / folder).symlink_to(elsewhere)
    outside = beside(nested)

    with pytest.raises(StoreError, match="link"):
        run(inputs, nested.path, repair=True)

    assert beside(nested) == outside


def test_a_store_without_volumes_is_not_deleted_with_what_others_put_into_it(inputs, nested):
    (nested.path / "notes.txt").write_text("kept")
    for volume in list(nested.volumes):
        main(["remove", str(nested.path), "--subject", volume.subject])
    for name in ("removed.json", "splits.json"):
        (nested.path / name).unlink()
    (inputs / "none").mkdir(exist_ok=True)
    (inputs / "none/broken.nii").write_bytes(b"?")

    report = run(inputs, nested.path, mri=inputs / "none", ct=None)

    assert report.is_empty
    assert (nested.path / "notes.txt").read_text() == "kept"


def test_a_manifest_of_a_checkpoint_reads_its_own_files_alone(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    folder = tmp_path / "run/checkpoints/step_00000003"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    for name in (*HOSTILE_NAMES, "../../../secret", str(secret)):
        (folder / "manifest.json").write_text(json.dumps({name: secret.sha256()}))
        with pytest.raises(CheckpointError, match="could lead to other files"):
            verify_checkpoint(folder)


def test_only_unfinished_checkpoints_are_swept(tmp_path):
    folder = tmp_path / "checkpoints"
    for name in (".partial-01ab-step_00000003", ".partial-notes", "step_notes", "step_00000006"):
        (folder / name).mkdir(parents=True)

    remove_partial_checkpoints(tmp_path)

    assert folder.names() == [".partial-notes", "step_00000006", "step_notes"]


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name])
def test_a_configuration_names_a_run_in_its_folder(name):
    with pytest.raises(ConfigError, match=r"run\.name"):
        RunConfig(name=name)


@pytest.mark.parametrize("key", ["trial", "run", "start"])
def test_the_log_of_a_search_names_runs_in_its_folder(tmp_path, key):
    path = write_search(tmp_path / "s").path
    whole = path.read_text()
    event = {"event": "exploit", "trial": "t000", "values": {}, "run": "t000-1", "time_s": 9.0}
    event |= {"start": "t001/checkpoints/step_00000003", "donor": "t001"}
    for name in HOSTILE_NAMES[1:]:
        path.write_text(f"{whole}{json.dumps(event | {key: name})}\n")
        with pytest.raises(UserError, match=f"cannot be its {key}"):
            EventLog(path)
    path.write_text(f"{whole}{json.dumps(event)}\n")
    assert EventLog(path).by_name["t000"].run == "t000-1"


def test_objects_with_names_that_lead_out_are_not_fetched(tmp_path, monkeypatch):
    folder = ObjectPath("memory://bucket/model")
    fs = fsspec.filesystem("memory")
    fs.pipe({"/bucket/model/model.json": b"{}", "/bucket/model/a/../../../escaped": b"x"})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(StoreError, match="leads out of"), folder.fetched():
        pass

    assert not list(tmp_path.iterdir())
