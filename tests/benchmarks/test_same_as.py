"""The comparison of two versions: what counts as equal, and that every difference is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from benchmarks.versions.contents import Arrays, numbers_in, volumes_in
from benchmarks.versions.differences import compare, pairs_of
from benchmarks.versions.side import CommandError, Side, sides_of


def arrays() -> Arrays:
    """Two groups; two of the arrays have one shape."""
    random = np.random.default_rng(0)
    return {
        "critics/first": random.random((2, 3), np.float32),
        "critics/second": random.random((2, 3), np.float32),
        "translators/first": random.random((4,), np.float32),
    }


def test_equal_arrays_are_equal_group_by_group():
    critics, translators = compare("training", arrays(), arrays())

    assert (critics.name, critics.total, critics.different) == ("training, critics", 2, [])
    assert (translators.total, translators.different) == (1, [])


def test_one_value_that_differs_is_told_with_its_distance():
    changed = arrays()
    changed["critics/second"][1, 2] += 0.25

    critics, translators = compare("training", arrays(), changed)

    assert critics.different == ["critics/second: 1 of 6 values, by at most 0.25"]
    assert critics.largest == pytest.approx(0.25)
    assert "1 DIFFER" in critics.line()
    assert translators.different == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.astype(np.float64), "float32, now float64"),
        (lambda a: a[:3], "shape (4,), now (3,)"),
        (lambda a: -0.0 * a, "4 of 4 values"),
        (lambda a: np.where(a == a[0], np.nan, a), "1 of 4 values, by at most inf"),
    ],
)
def test_another_type_shape_or_a_nan_is_a_difference(change, told):
    changed = arrays()
    changed["translators/first"] = change(changed["translators/first"])

    _, translators = compare("training", arrays(), changed)

    assert told in translators.different[0]


def test_the_bits_of_a_zero_count():
    zeros = {"critics/bias": np.zeros(2)}

    (critics,) = compare("training", zeros, {"critics/bias": -np.zeros(2)})

    assert len(critics.different) == 1


def test_a_missing_and_a_new_array_are_told():
    fewer = arrays()
    del fewer["critics/second"]

    assert compare("training", arrays(), fewer)[0].different == ["critics/second is missing"]
    assert compare("training", fewer, arrays())[0].different == ["critics/second is new"]


def test_names_may_change_where_contents_do_not():
    renamed = {name.replace("critics", "discriminators"): a for name, a in arrays().items()}
    backwards = dict(reversed(renamed.items()))

    assert not any(group.different for group in compare("training", arrays(), backwards))


def test_under_another_name_a_difference_is_found_by_shape():
    renamed = {name.replace("translators", "generators"): a for name, a in arrays().items()}
    renamed["generators/first"] = renamed["generators/first"] + 1

    _, translators = compare("training", arrays(), renamed)

    assert translators.different == ["translators/first: 4 of 4 values, by at most 1"]


def test_under_the_same_names_equal_contents_do_not_change_places():
    swapped = arrays()
    names = ["critics/first", "critics/second"]
    swapped[names[0]], swapped[names[1]] = (swapped[name] for name in reversed(names))

    assert len(compare("training", arrays(), swapped)[0].different) == 2
    assert pairs_of(arrays(), swapped) == [(name, name) for name in arrays()]


def test_the_numbers_of_a_document_are_arrays_by_path():
    document = {"schema": 3, "a": {"b": [[1, 2], [3, 4]], "name": "x"}, "c": [{"d": 1.5}, None]}
    document |= {"ok": True, "ragged": [[1], [2, 3]]}

    found = dict(numbers_in(document, ""))

    assert list(found) == ["a/b", "c/0/d", "ragged/0", "ragged/1"]
    np.testing.assert_array_equal(found["a/b"], [[1, 2], [3, 4]])
    assert found["c/0/d"] == 1.5


def test_a_store_is_read_by_its_format(tmp_path: Path):
    def write(store: Path, voxel: int) -> Arrays:
        group = zarr.open_group(store, mode="w", attributes={"schema": 1})
        volume = group.create_group("ct/1", attributes={"ours": {"affine": [[1, 0], [0, 1]]}})
        for name in ("0", "labels/body/0"):
            array = volume.create_array(name, shape=(2, 2), dtype="int16")
            array[0, 0] = voxel
        return volumes_in(store)

    before, after = write(tmp_path / "before.zarr", 1), write(tmp_path / "after.zarr", 2)

    assert set(before) == {
        "images/ct/1/0",
        "body masks/ct/1/labels/body/0",
        "geometry/ct/1/ours/affine",
    }
    told = {group.name: group.different for group in compare("store", before, after)}
    assert told["store, images"] == ["images/ct/1/0: 1 of 4 values, by at most 1"]
    assert len(told["store, body masks"]) == 1
    assert told["store, geometry"] == []


def test_a_setting_is_spelt_as_the_version_spells_it(tmp_path: Path):
    (tmp_path / "tool.py").write_text("print('--loss.cycle.weight FLOAT, --filters INT')")
    side = Side(label="here", tree=tmp_path)
    settings = [["--filters 4"], ["--loss.cycle-weight 2", "--loss.cycle.weight 2"]]

    assert side.spelt("tool", settings) == ["--filters", "4", "--loss.cycle.weight", "2"]
    with pytest.raises(CommandError, match=r"knows none of: --loss\.cycle-weight 2"):
        side.spelt("tool", [settings[1][:1]])


def test_a_command_that_fails_is_told_with_its_last_lines(tmp_path: Path):
    (tmp_path / "tool.py").write_text("raise SystemExit('no such thing')")

    with pytest.raises(CommandError, match=r"(?s)exit code 1 of\n  python -m tool 7\nno such"):
        Side(label="here", tree=tmp_path).run("tool", 7)


def test_a_commit_that_is_not_there_is_told():
    with (
        pytest.raises(CommandError, match="there is no commit 'no-such-branch'"),
        sides_of("no-such-branch"),
    ):
        pass


def test_a_worktree_is_the_commits_and_goes_again(tmp_path: Path):
    with sides_of("HEAD") as (before, here):
        assert (before.tree / "benchmarks").is_dir()
        assert json.loads(before.run("json.tool", _written(tmp_path / "a.json", '{"a": 1}'))) == {
            "a": 1
        }
        assert here.label == "here"
        tree = before.tree
    assert not tree.exists()


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
