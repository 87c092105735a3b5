"""The wrong volumes of a store stand first, each with what is wrong about it."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.store.contact_sheet import ODD_ROWS, VOLUMES_PER_ROW, odd_rows_of
from data_prep.store.history import rebuild_index
from data_prep.store.oddity import LEAST_VOLUMES, ODD, odd_volumes, oddest_of
from data_prep.store.store import open_store
from data_prep.store.writer import write_volume
from mrct.errors import ExitCode
from mrct.imaging.volume import Grid
from tests.support.stores import SPACING_MM, make_store, prepared, random_head

SHAPE = (8, 32, 32)


def spoiled(name: str, head: dict, volume):
    """One volume with a fault that its headers and values do not show."""
    made, z = volume.preprocessed, SHAPE[0]
    match name:
        case "view":
            grid = Grid(shape=made.source.shape, affine=made.source.affine @ np.diag([2, 2, 2, 1]))
            return replace(volume, preprocessed=replace(made, source=grid))
        case "plane":
            sagittal = np.array([[0, 0, 3.0, 0], [2, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])
            grid = Grid(shape=(21, 16, 32), affine=sagittal)  # of nearly the same view
            return replace(volume, preprocessed=replace(made, source=grid))
        case "kind":
            return replace(volume, kind="FLAIR")
        case "outline":
            body = made.body.copy()
            body[z // 2 :] = True
            return replace(volume, preprocessed=replace(made, body=body))
        case "contrast":
            voxels = (made.voxels // 8).astype(np.int16)
            return replace(volume, preprocessed=replace(made, voxels=voxels))
    raise AssertionError(name)


FAULTS = {
    "view": "view",
    "plane": "slices sagittal",
    "kind": "kind FLAIR, usually unknown",
    "outline": "",
    "contrast": "contrast",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "s.zarr"
    made = make_store(path, mri=16, ct=LEAST_VOLUMES - 1, shape=SHAPE)
    random = np.random.default_rng(1)
    for name in FAULTS:
        head = random_head(random, SHAPE)
        subject = name.encode().hex().ljust(16, "0")
        good = prepared("mri", subject, "train", head, SPACING_MM)
        write_volume(made.path, spoiled(name, head, good))
    rebuild_index(made.path)
    return open_store(made.path)


def test_every_fault_stands_before_all_sound_volumes(store):
    odd = odd_volumes(store.select("mri", "train"), len(FAULTS))

    found = {bytes.fromhex(each.volume.subject).rstrip(b"\0").decode(): each for each in odd}
    assert found.keys() == FAULTS.keys()
    for name, words in FAULTS.items():
        assert words in found[name].reason
        assert "usually" in found[name].reason
    distances = [each.distance for each in odd]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] > ODD


def test_few_volumes_have_no_usual_value(store):
    assert odd_volumes(store.select("ct", "train"), 4) == []


def test_equal_volumes_are_not_odd_by_rounding(tmp_path):
    made = make_store(tmp_path / "s.zarr", mri=0, ct=0, shape=SHAPE)
    head = random_head(np.random.default_rng(0), SHAPE)
    for number in range(LEAST_VOLUMES):
        noisy = head | {"mri": head["mri"] + np.int16(number % 2)}
        write_volume(made.path, prepared("mri", f"{number:016x}", "train", noisy, SPACING_MM))
    rebuild_index(made.path)

    assert oddest_of(open_store(made.path), 10) == []


def test_the_picture_begins_with_them_and_the_command_names_them(store, tmp_path, capsys):
    odd = oddest_of(store, ODD_ROWS * VOLUMES_PER_ROW)
    rows = odd_rows_of(store, odd)

    assert len(rows[0][1]) == min(len(odd), VOLUMES_PER_ROW)
    assert rows[0][0] == "oddest\nMRI"
    assert rows[0][1][0].title.endswith(odd[0].reason)

    picture = tmp_path / "sheet.png"
    assert main(["describe", str(store.path), "--picture", str(picture)]) == ExitCode.DONE

    told = capsys.readouterr().out
    assert f"Odd: {odd[0]}" in told
    assert f"with {len(odd)} odd volumes first" in told
    assert picture.stat().st_size > 10_000
