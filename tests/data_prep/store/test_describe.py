"""What a store is said to hold is what it holds, and no patient is named."""

import numpy as np
import pytest
from matplotlib import image as pictures

from data_prep.store.contact_sheet import VOLUMES_PER_ROW, caption_of, rows_of, save_contact_sheet
from data_prep.store.describe import EDGES_HU, describe, hu_lines, sample_volumes, store_histogram
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "s.zarr"
    return make_store(path, mri=2, ct=9, paired=1, splits=("train", "train", "val"))


def test_the_histogram_is_numpys_of_the_voxels_inside_the_body(store):
    volumes = store.select("ct", "val")
    voxels = np.concatenate([store.voxels(v)[store.body(v) == 1] for v in volumes])

    histogram = store_histogram(store, volumes)

    assert histogram.counts.sum() == voxels.size  # beyond the last edge too
    inside = np.histogram(voxels[voxels < EDGES_HU[-2]], EDGES_HU[:-1])[0]
    np.testing.assert_array_equal(histogram.counts[:-1], inside)
    np.testing.assert_allclose(histogram.percentiles[1], np.median(voxels))


def test_its_line_shows_every_filled_bar_and_the_tallest_highest(store):
    histogram = store_histogram(store, store.select("ct", "train"))
    bars = str(histogram).split("|")[1]

    assert [bar != " " for bar in bars] == (histogram.counts > 0).tolist()
    assert bars.index("█") == histogram.counts.argmax()


def test_every_split_with_ct_has_a_line(store):
    lines = list(hu_lines(store))

    assert [line.split()[0] for line in lines] == ["train", "val"]
    assert "of 6 volumes" in lines[0]
    assert "of 4 volumes" in lines[1]


def test_samples_are_spread_over_all_and_never_more_than_asked(store):
    for count in range(1, 15):
        chosen = [v.name for v in sample_volumes(store.volumes, count)]
        assert 1 <= len(chosen) <= count
        assert chosen[0] == store.volumes[0].name


def test_the_sheet_shows_middle_slices_in_their_windows_with_the_body_outlined(store):
    shown = [picture for _, pictures in rows_of(store) for picture in pictures]

    rows = [store.select(m, s) for s in ("train", "val") for m in ("mri", "ct")]
    wanted = [volume for row in rows for volume in sample_volumes(row, VOLUMES_PER_ROW)]
    assert len(shown) == len(wanted)
    for picture, volume in zip(shown, wanted, strict=True):
        z = int(picture.title.split()[2])
        assert abs(volume.height[z] - 0.5) == np.abs(volume.height - 0.5).min()
        np.testing.assert_array_equal(picture.values, store.voxels(volume)[z])
        np.testing.assert_array_equal(picture.outline, store.body(volume)[z] == 1)
        ends = (-160, 240) if volume.modality == "ct" else volume.window
        assert (picture.windowing.low, picture.windowing.high) == ends


def test_pictures_and_texts_hold_pseudonyms_only(store, tmp_path):
    titles = [picture.title for _, pictures in rows_of(store) for picture in pictures]
    names = {volume.name.split("/")[1][:8] for volume in store.volumes}
    assert {title.split(",")[0] for title in titles} <= names
    assert not any(volume.name.split("/")[1] in caption_of(store) for volume in store.volumes)

    save_contact_sheet(store, tmp_path / "sheet.png")

    assert pictures.imread(tmp_path / "sheet.png").std() > 0.1
    assert str(store.path).encode() not in (tmp_path / "sheet.png").read_bytes()


def test_the_table_counts_bytes_of_the_files_on_disk(store):
    table = describe(store).renderables[1]
    split, domain, *_, size = (list(column.cells) for column in table.columns)
    mib = dict(zip(zip(split, domain, strict=True), size, strict=True))
    for modality in ("mri", "ct"):
        folders = [store.path / v.name for v in store.select(modality, "train")]
        size_bytes = sum(p.stat().st_size for f in folders for p in f.rglob("*") if p.is_file())
        assert mib["train", modality] == f"{size_bytes / 2**20:.1f}"
