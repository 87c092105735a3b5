"""The store and the files that `benchmarks.streaming` measures on."""

from pathlib import Path

from benchmarks.loading.slices import Amount, make_slices


def test_both_domains_are_stored_and_written_in_every_form(tmp_path: Path) -> None:
    store = make_slices(tmp_path, Amount(volumes=1, depth=8, num_files=8))

    assert sorted(volume.modality for volume in store.volumes) == ["ct", "mri"]
    assert len({volume.subject for volume in store.volumes}) == 2
    for modality in ("mri", "ct"):
        assert len(list((tmp_path / modality).glob("*.png"))) == 8
        assert len(list((tmp_path / modality).glob("*.npy"))) == 8
        assert len(list((tmp_path / modality).glob("image*.nii"))) == 1
