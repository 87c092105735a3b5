"""The axis of heights is fitted once, sealed, and moves only when it is asked to."""

import json
from dataclasses import replace

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.preprocess.height_axis import HeightAxis
from data_prep.store.check import check, remove_damaged, repair
from data_prep.store.commits import seal, unseal
from data_prep.store.contact_sheet import aligned_rows_of, caption_of
from data_prep.store.describe import height_lines
from data_prep.store.heights import HEIGHTS_FILE, axis_content, read_heights
from data_prep.store.history import as_of, rebuild_index
from data_prep.store.index import INDEX
from data_prep.store.removal import remove_subject
from data_prep.store.store import Store, open_store
from data_prep.store.stored_volume import StoredVolume
from data_prep.store.writer import write_volume
from mrct.errors import ExitCode, StoreError
from mrct.imaging.modality import MODALITIES
from tests.support.conversions import run
from tests.support.round_heads import SPACING_MM, round_head, write_round_heads
from tests.support.stores import prepared
from tests.support.volumes import write_head

CUTS = [(0, 0), (45, 12), (21, 30)]


@pytest.fixture
def store(tmp_path) -> Store:
    write_round_heads(tmp_path / "s.zarr", CUTS)
    rebuild_index(tmp_path / "s.zarr", fit=True)
    return open_store(tmp_path / "s.zarr")


def appended(store: Store, cuts=((30, 15),), split="train") -> Store:
    write_round_heads(store.path, cuts, seed=1, split=split)
    rebuild_index(store.path, fit=True)
    return open_store(store.path)


def places(store: Store) -> dict[str, tuple[float, float]]:
    return {volume.name: (volume.lowest, volume.highest) for volume in store.volumes}


def test_slices_of_unlike_fields_of_view_have_the_heights_of_their_place(store):
    assert store.axis.volumes == 6
    below_mm = {
        depth: np.mean([-v.lowest * SPACING_MM[0] for v in store.volumes if v.shape[0] == depth])
        for depth in {volume.shape[0] for volume in store.volumes}
    }  # by the number of slices, which tells the cut
    for above, below in CUTS:
        found = below_mm[len(round_head(1, above, below))] - below_mm[len(round_head(1))]
        assert found == pytest.approx(below, abs=6)


def test_what_is_appended_is_placed_and_moves_nothing(store):
    before, content = places(store), (store.path / HEIGHTS_FILE).read_bytes()

    after = appended(store)

    assert (store.path / HEIGHTS_FILE).read_bytes() == content
    assert len(after.volumes) == len(before) + 2
    assert before.items() < places(after).items()
    assert as_of(after, store.contents).contents == store.contents


def test_a_refit_is_asked_for_and_changes_the_contents(store, capsys):
    after = appended(store)

    assert main(["heights", str(store.path), "--refit"]) == ExitCode.DONE

    again = open_store(store.path)
    assert again.axis.volumes == 8
    assert again.axis.sha256 != after.axis.sha256
    assert again.contents != after.contents
    assert as_of(again, store.contents) is None
    assert "8 training volumes were aligned by their outlines" in capsys.readouterr().out
    assert check(again) == []


def test_the_command_tells_what_does_not_fit(store, capsys):
    thigh = np.broadcast_to(np.hypot(*np.ogrid[-126:130:4, -126:130:4]) < 30, (40, 64, 64))
    head = {"ct": np.where(thigh, 40, -1000).astype(np.int16), "body": thigh}

    write_volume(store.path, prepared("ct", "ab" * 8, "test", head, SPACING_MM))
    rebuild_index(store.path)
    name = f"ct/{'ab' * 8}"

    assert main(["heights", str(store.path)]) == ExitCode.DONE
    assert f"warning: The outline of {name} differs from it by" in capsys.readouterr().out
    assert main(["heights", str(store.path), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["misfits_mm"].keys() == {name}
    assert found["volumes"] == 6


def test_a_conversion_fits_at_its_end_and_says_so_and_the_next_one_does_not(tmp_path, capsys):
    for modality in MODALITIES:
        for number in range(2):
            write_head(tmp_path / f"{modality}/{number}.nii", modality, number)
    settings = {"mri": tmp_path / "mri", "ct": tmp_path / "ct", "out": tmp_path / "s.zarr"}
    _, store = run(**settings, split=(1.0, 0.0, 0.0))
    kept = read_heights(store.path)

    assert kept.axis.volumes == 4
    write_head(tmp_path / "mri/2.nii", "mri", 2)
    run(**settings, split=(1.0, 0.0, 0.0))
    assert read_heights(store.path) == kept


def test_a_store_of_one_kind_waits_for_the_other(tmp_path, capsys):
    path = tmp_path / "s.zarr"
    write_head(tmp_path / "mri/0.nii", "mri")
    run(mri=tmp_path / "mri", out=path)

    assert read_heights(path) is None
    assert main(["heights", str(path)]) == ExitCode.DONE
    assert "needs an MRI and a CT" in capsys.readouterr().out


def test_too_few_volumes_fall_back_say_so_and_stay_so_until_a_refit(tmp_path, capsys):
    path = tmp_path / "s.zarr"
    write_round_heads(path, CUTS[:1])
    rebuild_index(path, fit=True)
    store = open_store(path)
    assert not store.axis.sizes_mm

    after = appended(store, CUTS[1:])

    assert {*places(store).items()} < {*places(after).items()}
    main(["heights", str(path)])
    said = capsys.readouterr().out
    assert "field of view. 2 training volumes are too few" in said
    assert "--refit" in said
    main(["heights", str(path), "--refit"])
    assert open_store(path).axis.volumes == 6


def test_volumes_beyond_those_of_a_fit_are_no_later_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("data_prep.preprocess.axis_fit.MOST_FITTED", 1)
    write_round_heads(tmp_path / "s.zarr", CUTS)
    rebuild_index(tmp_path / "s.zarr", fit=True)

    main(["heights", str(tmp_path / "s.zarr")])

    assert "2 training volumes are too few" in (said := capsys.readouterr().out)
    assert "added since" not in said


def test_a_conversion_that_has_not_ended_is_named_where_there_is_no_axis(tmp_path, capsys):
    write_round_heads(tmp_path / "s.zarr", CUTS)
    rebuild_index(tmp_path / "s.zarr")

    main(["heights", str(tmp_path / "s.zarr")])

    assert "No conversion has ended yet" in (said := capsys.readouterr().out)
    assert "needs an MRI and a CT" not in said


def test_of_many_volumes_that_do_not_fit_ten_are_named(store, monkeypatch):
    many = dict.fromkeys(map(str, range(15)), 50.0)
    monkeypatch.setattr("data_prep.store.describe.misfits_of", lambda store: many)

    lines = [*height_lines(store)][1:]

    assert len(lines) == 11
    assert "So do 5 more" in lines[-1]


def test_nothing_of_a_removed_subject_is_in_the_axis(store):
    volume = store.select("mri", "train")[0]
    assert volume.subject in read_heights(store.path).subjects

    remove_subject(store.path, volume.subject)

    kept = read_heights(store.path)
    assert volume.subject not in kept.subjects
    assert kept.axis.volumes == 5
    again = open_store(store.path)
    assert check(again) == []
    records = [StoredVolume.to_json(each) for each in again.volumes]
    rebuild_index(store.path, refit=True)
    assert [each.to_json() for each in open_store(store.path).volumes] == records


def test_a_subject_that_is_not_in_the_mean_leaves_the_axis_where_it_is(store):
    after = appended(store, split="test")
    subject = after.select("ct", "test")[0].subject

    remove_subject(store.path, subject)

    assert open_store(store.path).axis == store.axis


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"version": 1}',
        seal({"version": 2, "axis": {}, "subjects": []}),
        seal({"version": 1, "axis": {"sizes_mm": [[1, 2]]}, "subjects": []}),
        seal({"version": 1, "axis": {"sizes_mm": [[1, 2, 3]], "high_mm": 7.0}, "subjects": []}),
        seal({"version": 1, "axis": {"sizes_mm": 5}, "subjects": []}),
        seal({"version": 1, "axis": 5, "subjects": []}),
    ],
)
def test_a_damaged_axis_is_refused_and_repaired(store, content):
    (store.path / HEIGHTS_FILE).write_bytes(content)
    with pytest.raises(StoreError, match=r"--repair|--refit"):
        open_store(store.path)

    assert repair(store.path, lambda text: None) == 0

    assert open_store(store.path).axis == store.axis
    assert open_store(store.path).contents == store.contents


def test_an_axis_of_another_store_or_an_earlier_fit_is_refused(store):
    (store.path / HEIGHTS_FILE).write_bytes(axis_content(replaced_axis(store)))

    with pytest.raises(StoreError, match="do not belong together"):
        open_store(store.path)


def test_a_lost_axis_is_noticed_and_fitted_again_with_a_word(store):
    (store.path / HEIGHTS_FILE).unlink()
    with pytest.raises(StoreError, match="do not belong together"):
        open_store(store.path)
    said = []

    repair(store.path, said.append)

    assert "was lost, and is fitted again. Runs on this store can only be resumed" in said[0]
    assert open_store(store.path).contents == store.contents


@pytest.mark.parametrize("fit", [True, False])
def test_nothing_is_written_in_place_of_a_lost_axis(store, fit):
    write_round_heads(store.path, [(30, 15)], seed=1)
    index = (store.path / INDEX).read_bytes()
    (store.path / HEIGHTS_FILE).unlink()

    with pytest.raises(StoreError, match=r"is missing: the axis(.|\n)*--repair"):
        rebuild_index(store.path, fit=fit)

    assert (store.path / INDEX).read_bytes() == index
    assert not (store.path / HEIGHTS_FILE).exists()


def test_the_repair_of_a_conversion_leaves_no_store_without_its_axis(store):
    (store.path / HEIGHTS_FILE).write_bytes(b"")

    remove_damaged(store.path, lambda text: None, full=False)

    assert open_store(store.path).contents == store.contents


def test_a_refit_that_fails_leaves_axis_and_index_as_they_were(store, monkeypatch):
    write_round_heads(store.path, [(30, 15)], seed=1)

    def fail(volume, axis):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.store.history.placement_of", fail)
        with pytest.raises(MemoryError):
            rebuild_index(store.path, refit=True)

    assert open_store(store.path).contents == store.contents


def test_a_kill_between_axis_and_index_is_mended_by_the_same_command(store):
    index = (store.path / INDEX).read_bytes()
    appended(store)
    main(["heights", str(store.path), "--refit"])
    whole = open_store(store.path).contents
    (store.path / INDEX).write_bytes(index)
    with pytest.raises(StoreError, match="do not belong together"):
        open_store(store.path)

    main(["heights", str(store.path), "--refit"])

    assert open_store(store.path).contents == whole


def test_a_volume_in_the_index_that_lies_elsewhere_is_a_problem(store):
    moved = replaced_axis(store)
    document = unseal((store.path / HEIGHTS_FILE).read_bytes(), store.path, store.path)
    rebuild = axis_content(moved, document["subjects"])
    (store.path / HEIGHTS_FILE).write_bytes(rebuild)
    rebuild_index(store.path)
    other = open_store(store.path)

    problems = check(other.on(store.axis))

    assert len(problems) == 0  # a store on another axis is placed on it
    assert places(other) != places(store)
    assert places(other.on(store.axis)) == places(store)
    columns = other.on(store.axis).select("ct", "train").column("lowest")
    np.testing.assert_array_equal(columns, store.select("ct", "train").column("lowest"))


def replaced_axis(store: Store) -> HeightAxis:
    return replace(store.axis, high_mm=store.axis.high_mm - 20)


def test_a_head_that_was_written_whole_covers_the_axis(store):
    (whole,) = {round(v.height[-1], 4) for v in store.volumes if v.shape[0] == len(round_head(1))}
    assert whole == 1


def test_the_picture_lays_training_volumes_side_by_side(store):
    rows = aligned_rows_of(store)

    assert caption_of(store).startswith("Heights")
    assert [label for label, _ in rows] == ["heights\nMRI", "heights\nCT"]
    panels = [panel for _, row in rows for panel in row]
    assert len(panels) == 6
    assert len({panel.values.shape for panel in panels}) == 1
    shown = [~np.isnan(panel.values[:, 0]) for panel in panels]
    assert sum(each.all() for each in shown) < 6  # what a scan lacks stays empty
    # Where a row of pixels is shown by several, the outlines are as wide within 15 %.
    widths = np.array([panel.outline.sum(axis=1) for panel in panels], float)
    widths[~np.array(shown)] = np.nan
    in_head = widths[:, 10:40]
    assert np.nanmax(np.abs(in_head / np.nanmedian(in_head, axis=0) - 1)) < 0.15


def test_without_an_axis_the_picture_has_no_such_rows(tmp_path):
    write_round_heads(tmp_path / "s.zarr", CUTS[:1])
    rebuild_index(tmp_path / "s.zarr", fit=True)

    fallen_back = open_store(tmp_path / "s.zarr")
    assert aligned_rows_of(fallen_back) == []
    assert "Heights" not in caption_of(fallen_back)
