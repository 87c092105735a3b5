"""A path does the same on a disk and on an object store, as far as its users can tell."""

import errno
import json
import re
from pathlib import Path

import pytest

from mrct.errors import UsageError
from mrct.storage.local_path import make_output_folder
from mrct.storage.object_path import ObjectPath, outages_as_os_errors
from mrct.storage.paths import StoragePath, storage_path
from tests.support.bound import bound_folder
from tests.support.object_store import s3_server

LAST = "manifest.json"


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


@pytest.fixture(params=["local", "s3", "memory"])
def folder(request, bucket, tmp_path):
    name = request.node.name.replace("[", "-").rstrip("]")
    path = {
        "local": storage_path(tmp_path / "folder"),
        "s3": storage_path(f"{bucket}/{name}/folder"),
        "memory": storage_path(f"memory://{name}/folder"),
    }[request.param]
    path.make_folder()
    yield path
    path.remove()


def gather(partial: StoragePath, files: dict[str, bytes]) -> None:
    partial.make_folder()
    with partial.staging() as here:
        for name, content in files.items():
            (here / name).write_bytes(content)
            partial.settle(here / name)


def test_a_path_has_a_name_and_a_parent(folder):
    assert isinstance(folder, StoragePath)
    path = folder / "a" / "b.txt"
    assert (path.name, path.parent, path.with_name("c")) == ("b.txt", folder / "a", folder / "a/c")
    assert path.absolute() == path == storage_path(str(path))
    assert path.beside(".key").name == "b.txt.key"
    assert len({path, folder / "a/b.txt"}) == 1


def test_a_file_is_put_read_and_removed(folder):
    path = folder / "inner/a"
    path.parent.make_folder()
    path.put(b"one")
    path.put(b"0123456789")

    assert path.exists()
    assert (path.read_bytes(), path.read_text()) == (b"0123456789", "0123456789")
    assert path.ranges()(2, 5) == b"234"
    assert path.sha256() == "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    assert folder.read_files(["inner/a"]) == {"inner/a": b"0123456789"}
    assert (folder.names(), folder.sizes()) == (["inner"], {"inner/a": 10})
    path.remove()
    path.remove()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()


def test_what_is_absent_has_no_names_and_no_files(folder):
    assert (folder / "absent").names() == []
    assert (folder / "absent").sizes() == {}
    assert folder.read_files([]) == {}


def test_a_new_file_is_not_written_over_another(folder):
    (folder / "a").put_new(b"one")
    with pytest.raises(FileExistsError):
        (folder / "a").put_new(b"two")
    assert (folder / "a").read_bytes() == b"one"


def test_a_folder_is_published_with_its_last_file_and_replaces_an_earlier_one(folder):
    final = folder / "step_1"
    for content in (b"one", b"two"):
        partial = folder / ".partial-word-step_1"
        gather(partial, {"a": content, "b": b"b"})
        assert partial not in folder.published(LAST)
        partial.publish(final.name, ["a", "b"], LAST, b"{}")

        assert folder.published(LAST) == [final]
        assert final.sizes() == {"a": 3, "b": 1, LAST: 2}
        assert (final / "a").read_bytes() == content
        assert folder.names() == ["step_1"]
    with final.fetched() as here:
        assert isinstance(here, Path)
        assert here.sizes() == final.sizes()

    final.withdraw(LAST)

    assert (folder.published(LAST), folder.sizes()) == ([], {})


def test_lines_of_several_writers_are_all_kept(folder):
    record = folder / "lines"
    for number in range(3):
        record.append(json.dumps(number) + "\n", f"{number}.json")

    files = record.sizes() or {"": 0}
    texts = [(record / name if name else record).read_text() for name in sorted(files)]
    assert "".join(texts) == "0\n1\n2\n"


def test_only_a_local_folder_contains_files_and_can_be_full(tmp_path, bucket):
    local, remote = storage_path(tmp_path / "s"), storage_path(f"{bucket}/s")
    (tmp_path / "link").symlink_to(tmp_path / "s")

    assert local.contains(tmp_path / "link/key")
    assert not local.contains(tmp_path / "s.key")
    assert not remote.contains(tmp_path / "s/key")
    assert local.bytes_free() > 0
    assert remote.bytes_free() is None
    assert (local.local, remote.local) == (local, None)


def test_the_parent_of_a_bucket_is_itself():
    assert ObjectPath("s3://bucket/a").parent == ObjectPath("s3://bucket")
    assert ObjectPath("s3://bucket").parent == ObjectPath("s3://bucket")


def test_what_a_client_cannot_name_is_an_outage_and_what_it_can_is_not():
    with pytest.raises(OSError, match="Write failed") as caught, outages_as_os_errors():
        raise OSError("Write failed")
    assert caught.value.errno == errno.EIO
    with pytest.raises(FileNotFoundError), outages_as_os_errors():
        raise FileNotFoundError("no such object")


def test_a_folder_that_cannot_be_made_is_an_error_for_people(tmp_path):
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/results")):
        with pytest.raises(UsageError, match=re.escape(f"folder {path} cannot be made")):
            make_output_folder(path)
    make_output_folder(tmp_path / "new" / "below")

    assert (tmp_path / "new" / "below").is_dir()


def test_a_folder_that_cannot_be_written_to_is_told_and_nothing_is_left_in_one_that_can(tmp_path):
    with bound_folder() as bound, pytest.raises(UsageError, match="cannot be written to: Perm"):
        make_output_folder(bound / "run")
    make_output_folder(tmp_path)

    assert list(tmp_path.iterdir()) == []
