"""Pairs, manifests, SynthRAD and BIDS trees become stores with their links, masks and splits."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.datasets.manifest import Row, write_manifest
from data_prep.readers.formats import stem_of
from data_prep.store.check import check
from data_prep.store.commits import commit_path
from mrct.errors import UsageError
from tests.support.conversions import GRID, run
from tests.support.volumes import write_head, write_mask


def test_pairs_share_the_mri_s_grid_a_subject_and_a_split(folders):
    for number in range(4):
        write_head(folders["ct"] / f"patient{number}.nii", "ct", number, shift_mm=20)
    _, store = run(**folders, paired=True)

    by_name = {volume.name: volume for volume in store.volumes}
    mri = [volume for volume in store.volumes if volume.modality == "mri"]
    assert len(mri) == 4
    for volume in mri:
        ct = by_name[volume.link]
        assert (ct.link, ct.subject, ct.split) == (volume.name, volume.subject, volume.split)
        np.testing.assert_array_equal(ct.affine, volume.affine)
        assert ct.shape == volume.shape
        # The same head in world space, though the files' grids are 20 mm apart.
        bodies = store.body(volume), store.body(ct)
        assert (bodies[0] & bodies[1]).sum() > 0.9 * (bodies[0] | bodies[1]).sum()
    assert len({volume.subject for volume in store.volumes}) == 4


def test_a_pair_with_a_broken_half_is_completed_by_a_later_run(folders):
    path = folders["ct"] / "patient0.nii"
    good = path.read_bytes()
    path.write_bytes(good[:500])
    report, store = run(**folders, paired=True)
    assert len(report.refused) == 1
    assert len([volume for volume in store.volumes if volume.link]) == 6

    path.write_bytes(good)
    report, store = run(**folders, paired=True)
    assert (report.written, report.kept) == (2, 6)
    assert all(volume.link for volume in store.volumes)


@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_a_pair_stays_whole_when_one_of_its_files_is_refused_later(folders, modality):
    """The CT lies on the MRI's grid: written alone it would lie on its own, and the MRI's link
    would lead to another place in the head."""
    for number in range(4):
        write_head(folders["ct"] / f"patient{number}.nii", "ct", number, shift_mm=20)
    _, before = run(**folders, paired=True)
    changed = next(folders[modality].glob("patient0.*"))
    write_head(changed, modality, 9)

    report, after = run(**folders, paired=True)

    assert [refusal.code for refusal in report.refused] == ["source-changed"]
    assert (report.written, report.kept) == (0, 7)
    assert [v.to_json() for v in after.volumes] == [v.to_json() for v in before.volumes]
    assert not check(after, full=True)

    # Both are new, and one's record is removed, as its refusal says: neither is written alone.
    other = {"mri": "ct", "ct": "mri"}[modality]
    write_head(next(folders[other].glob("patient0.*")), other, 9)
    (refused,) = report.refused
    commit_path(after.path, before.volumes.named(refused.name).link).unlink()

    report, after = run(**folders, paired=True)

    assert {refusal.code for refusal in report.refused} == {"source-changed", "pair-incomplete"}
    assert len(after.volumes) == 7


def test_a_manifest_decides_splits_and_pairs(folders, tmp_path):
    mri, ct = folders["mri"], folders["ct"]
    rows = [
        Row(path=mri / "patient0.nii.gz", modality="mri", subject="a", split="test", pair="1"),
        Row(path=ct / "patient0.nii", modality="ct", subject="a", split="test", pair="1"),
        Row(path=mri / "patient1.nii.gz", modality="mri", subject="b", split="val"),
        Row(path=ct / "patient1.nii", modality="ct", subject="c", split="val"),
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    _, store = run(manifest=tmp_path / "manifest.csv", out=folders["out"])

    assert sorted(volume.split for volume in store.volumes) == ["test", "test", "val", "val"]
    assert sorted(bool(volume.link) for volume in store.volumes) == [False, False, True, True]

    write_manifest(tmp_path / "manifest.csv", [replace(rows[2], split="train")])
    with pytest.raises(UsageError, match="is to be in train, but the store has it in val"):
        run(manifest=tmp_path / "manifest.csv", out=folders["out"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_the_mask_of_a_synthrad_case_bounds_its_scores_and_not_its_outline(tmp_path, suffix):
    for number in range(3):
        case = tmp_path / f"Task1/brain/1BA00{number}"
        mri = write_head(case / "mr.nii.gz", "mri", number)
        write_head(case / "ct.nii.gz", "ct", number)
        box = (slice(2, 8), slice(20, 40), slice(18, 38))
        write_mask(case / "mask.nii.gz", mri, inside=box)
        for path in list(case.iterdir()) if suffix == ".mha" else ():
            SimpleITK.WriteImage(SimpleITK.ReadImage(path), case / f"{stem_of(path.name)}.mha")
            path.unlink()

    report, store = run(synthrad=tmp_path / "Task1", out=tmp_path / "s.zarr")

    assert (report.written, report.refused, report.notes) == (6, (), 6)
    for volume in store.volumes:
        assert volume.link
        dz, dy, dx = store.spacing_mm
        litres = float(store.score_mask(volume).sum()) * dz * dy * dx / 1e6
        assert litres == pytest.approx(6 * 20 * 20 * 6.0 * 3.5 * 4.0 / 1e6, rel=0.05)
        assert store.body(volume).sum() > 2 * store.score_mask(volume).sum()
    for mask in (tmp_path / "Task1").rglob(f"mask{suffix}"):
        mask.unlink()
    bare = {"out": tmp_path / "bare.zarr", "key_file": tmp_path / "s.zarr.key"}
    _, without = run(synthrad=tmp_path / "Task1", **bare)
    for ours, theirs in zip(store.volumes, without.volumes, strict=True):
        np.testing.assert_array_equal(store.body(ours), without.body(theirs))
        np.testing.assert_array_equal(without.score_mask(theirs), without.body(theirs))


def test_a_damaged_mask_refuses_its_volumes(tmp_path):
    case = tmp_path / "Task1/brain/1BA000"
    mri = write_head(case / "mr.nii.gz", "mri")
    write_head(case / "ct.nii.gz", "ct")
    mask = write_mask(case / "mask.nii.gz", mri, inside=(slice(2, 8),) * 3)
    mask.write_bytes(mask.read_bytes()[:-20])

    out = tmp_path / "other.zarr"
    report = convert(ConvertSettings(**GRID, workers=0, synthrad=tmp_path / "Task1", out=out))

    assert [refusal.code for refusal in report.refused] == ["mask-unusable"] * 2
    assert not out.exists()


def test_a_bids_tree_becomes_a_store(tmp_path):
    for number in range(3):
        write_head(tmp_path / f"b/sub-{number}/anat/sub-{number}_T1w.nii.gz", "mri", number)
        write_head(tmp_path / f"b/sub-{number}/ct/sub-{number}_ct.nii.gz", "ct", number)

    _, store = run(bids=tmp_path / "b", out=tmp_path / "s.zarr")

    assert len({volume.subject for volume in store.volumes}) == 3
    assert {(v.modality, v.split) for v in store.volumes} == {
        (modality, split) for modality in ("mri", "ct") for split in ("train", "val", "test")
    }
