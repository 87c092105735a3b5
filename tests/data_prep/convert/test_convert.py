"""All usable volumes get in, the others are named, and a second run adds only what lacks."""

import csv
import json
import shutil
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.preprocess import preprocess
from data_prep.readers.nifti import read_nifti, write_nifti
from mrct.errors import OtherStoreError, UsageError
from mrct.imaging.geometry import resample
from mrct.imaging.volume import Grid, Volume
from tests.support.conversions import run
from tests.support.volumes import write_head


def test_folders_become_a_store_of_one_geometry_with_all_splits(folders):
    report, store = run(**folders)

    assert (report.written, report.kept, report.refused) == (8, 0, ())
    for modality in ("mri", "ct"):
        for split, count in (("train", 2), ("val", 1), ("test", 1)):
            assert len(store.select(modality, split)) == count
    for volume in store.volumes:
        assert volume.shape == (10, 56, 48)
        assert 0.25 < np.mean(volume.body_fraction) < 0.6
        assert volume.link is None
        store.verify(volume, full=True)


def test_nothing_in_the_store_or_its_messages_names_a_patient(folders, capsys):
    (folders["mri"] / "patient0.nii.gz").write_bytes(b"broken")
    _, store = run(**folders)

    texts = [path.read_bytes() for path in store.path.rglob("*") if path.is_file()]
    texts += [str(path).encode() for path in store.path.rglob("*")]
    texts += [text.encode() for text in capsys.readouterr()]
    assert not [text for text in texts if b"patient" in text]


def test_hounsfield_units_arrive_and_the_way_back_leads_to_the_source_grid(folders):
    _, store = run(**folders)
    volume = store.select("ct", "train")[0]
    voxels, body = store.voxels(volume), store.body(volume)
    assert np.median(voxels[body == 1]) == pytest.approx(35, abs=8)
    assert np.median(voxels[body == 0]) == pytest.approx(-1000, abs=8)
    assert voxels.max() > 700

    stored = Volume(voxels=voxels, affine=volume.affine, modality="ct", pseudonym="p")
    source = Grid(shape=volume.source_shape, affine=volume.source_affine)
    back = resample(stored, source, fill=-1024)

    originals = [read_nifti(path, modality="ct", pseudonym="p") for path in folders["ct"].iterdir()]
    errors = [np.abs(back.voxels - original.voxels).mean() for original in originals]
    assert min(errors) < 70  # edges of 6 mm slices; a shift by one voxel gives 120
    np.testing.assert_allclose(back.affine, originals[0].affine, atol=1e-4)


def test_a_bad_volume_is_quarantined_and_the_rest_goes_on(folders):
    good = (folders["ct"] / "patient1.nii").read_bytes()
    (folders["ct"] / "patient1.nii").write_bytes(good[:-100])
    packed = bytearray((folders["mri"] / "patient2.nii.gz").read_bytes())
    packed[-6] ^= 1  # the checksum in the trailer
    (folders["mri"] / "patient2.nii.gz").write_bytes(packed)

    report, store = run(**folders)

    assert report.written == len(store.volumes) == 6
    assert [refusal.code for refusal in report.refused] == ["gzip-damaged", "header-damaged"]
    quarantine = folders["out"].with_name("s.zarr.quarantine.jsonl")
    lines = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert stat.S_IMODE(quarantine.stat().st_mode) == 0o600
    assert {line["code"] for line in lines} == {"gzip-damaged", "header-damaged"}
    assert {line["path"].rsplit("/")[-1] for line in lines} == {"patient2.nii.gz", "patient1.nii"}
    assert all(line["remedy"] and line["reason"] and line["sha256"] for line in lines)


def test_a_crash_of_our_own_in_one_volume_does_not_stop_the_rest(folders, monkeypatch):
    def crash(volume, spec, **settings):
        if volume.modality == "ct":
            raise RuntimeError(f"secret {folders['ct']}")
        return preprocess(volume, spec, **settings)

    monkeypatch.setattr("data_prep.convert.worker.preprocess", crash)
    report, store = run(**folders)

    assert {refusal.code for refusal in report.refused} == {"crashed"}
    assert len(store.volumes) == 4
    assert "secret" not in str(report.refused[0])
    assert "test_convert.py" in report.refused[0].reason


def test_a_second_run_keeps_what_is_there_and_adds_the_new(folders):
    _, first = run(**folders)
    stamps = {path: path.stat().st_mtime_ns for path in first.path.glob("*/*/0/c/0/0/0")}
    write_head(folders["mri"] / "patient9.nii.gz", "mri", 99)

    report, second = run(**folders)

    assert (report.written, report.kept) == (1, 8)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    splits = {volume.name: volume.split for volume in second.volumes}
    assert {v.name: v.split for v in first.volumes}.items() <= splits.items()


def test_a_removed_commit_record_brings_the_volume_back_as_it_was(folders):
    _, first = run(**folders)
    victim = first.volumes[0]
    (first.path / "commits" / f"{victim.name.replace('/', '-')}.json").unlink()

    report, second = run(**folders)

    assert (report.written, report.swept) == (1, 1)
    assert [v.to_json() for v in first.volumes] == [v.to_json() for v in second.volumes]


def test_a_changed_source_is_refused_and_the_committed_one_stays(folders):
    _, first = run(**folders)
    write_head(folders["mri"] / "patient0.nii.gz", "mri", 77)

    report, second = run(**folders)

    assert [refusal.code for refusal in report.refused] == ["source-changed"]
    assert [v.to_json() for v in first.volumes] == [v.to_json() for v in second.volumes]


def test_another_spacing_is_wrong_use_before_anything_is_written(folders):
    run(**folders)
    with pytest.raises(OtherStoreError, match="spacing_mm") as refused:
        run(**folders, spacing_mm=(6.0, 4.0, 3.0))
    assert "None" not in str(refused.value), "only what the user sets is compared"


def test_a_ct_that_is_not_in_hounsfield_units_is_refused(folders):
    path = folders["ct"] / "patient3.nii"
    volume = read_nifti(path, modality="ct", pseudonym="p")

    write_nifti(path, (volume.voxels + 1024).astype(np.int16), volume.affine)
    report, _ = run(**folders)
    assert [refusal.code for refusal in report.refused] == ["modality-conflict"]


def test_wrong_use_is_explained(tmp_path):
    out = tmp_path / "s.zarr"
    with pytest.raises(UsageError, match="--manifest"):
        ConvertSettings(out=out)
    with pytest.raises(UsageError, match="multiples of 4"):
        ConvertSettings(out=out, mri=tmp_path, size=(250, 250))
    with pytest.raises(UsageError, match="add up to 1"):
        ConvertSettings(out=out, mri=tmp_path, split=(0.8, 0.1, 0.2))
    for layouts in ({"mri": tmp_path, "bids": tmp_path}, {"manifest": out, "synthrad": out}):
        with pytest.raises(UsageError, match="Two kinds of input"):
            ConvertSettings(out=out, **layouts)
    with pytest.raises(UsageError, match="column `pair`"):
        ConvertSettings(out=out, manifest=tmp_path / "list.csv", paired=True)
    with pytest.raises(UsageError, match="Omit --same-subjects"):
        ConvertSettings(out=out, bids=tmp_path, same_subjects=True)
    for secret in ("key_file", "id_map"):
        with pytest.raises(UsageError, match="inside the store"):
            ConvertSettings(out=out, mri=tmp_path, **{secret: out / "secret"})


def test_nothing_is_written_where_there_is_nothing_to_convert(tmp_path):
    (tmp_path / "mri").mkdir()

    with pytest.raises(UsageError, match="it is empty"):
        run(out=tmp_path / "new/s.zarr", mri=tmp_path / "mri")

    assert [path.name for path in tmp_path.rglob("*")] == ["mri"]


def test_an_id_map_leads_back_from_every_volume_to_its_file(folders, tmp_path):
    _, store = run(**folders, id_map=tmp_path / "ids.csv")

    rows = list(csv.DictReader((tmp_path / "ids.csv").read_text().splitlines()))
    assert {(row["volume"], row["subject"]) for row in rows} == {
        (volume.name, volume.subject) for volume in store.volumes
    }
    for row in rows:
        path = Path(row["path"])
        assert path.is_absolute()
        assert path.name.split(".")[0] == row["original_subject"]
        assert row["volume"].split("/")[0] == path.parent.name


def test_a_damaged_header_leaves_no_split_without_a_domain(folders):
    for number in range(4, 6):
        (folders["ct"] / f"patient{number}.nii").write_bytes(b"no header")

    for _ in range(4):  # each time under another key
        report, store = run(**folders)
        assert len(report.refused) == 2
        for split in ("train", "val", "test"):
            assert store.select("ct", split)
        shutil.rmtree(folders["out"].parent)


@pytest.fixture
def another_cluster(monkeypatch):
    """Somebody's Ray that this machine tells of, and that is none of ours."""
    # Short, because Ray keeps sockets there.
    with tempfile.TemporaryDirectory(prefix="r") as name:
        (Path(name) / "ray").mkdir()
        (Path(name) / "ray/ray_current_cluster").write_text("127.0.0.1:9")
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield


@pytest.mark.ray
@pytest.mark.usefixtures("another_cluster")
def test_ray_tasks_give_the_store_that_one_process_gives(folders, tmp_path):
    (folders["ct"] / "patient1.nii").write_bytes(b"")
    key = tmp_path / "k.key"
    _, alone = run(**folders, key_file=key)
    report, store = run(workers=2, **folders | {"out": tmp_path / "r.zarr"}, key_file=key)

    assert (report.written, len(report.refused)) == (7, 1)
    assert [v.to_json() for v in store.volumes] == [v.to_json() for v in alone.volumes]
    for volume in store.volumes:
        np.testing.assert_array_equal(store.voxels(volume), alone.voxels(volume))
