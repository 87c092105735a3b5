"""A validation's picture: fixed windows, differences as they are, and legible labels."""

import numpy as np
import pytest

from cyclegan.inference.cycle import CycleResult
from cyclegan.train.validation.figure import (
    CHANGE_HU,
    CHANGE_MRI,
    CT,
    MRI,
    PLANE_HEIGHT,
    plane_pictures,
    planes_of,
    tiles_of,
    validation_figure,
)
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import normalise
from tests.support.stores import make_store

PIXEL_MM = (2.0, 1.0)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp("panel") / "s.zarr", shape=(4, 32, 32))
    return {m: store.select(m, "train")[0] for m in ("mri", "ct")} | {"store": store}


def cycle(volumes, modality: str, translated, returned) -> CycleResult:
    store, volume = volumes["store"], volumes[modality]
    original = normalise(store.voxels(volume).astype(np.float32), volume.window)
    return CycleResult(
        volume=volume,
        body=store.body(volume).astype(bool),
        original=original,
        translated=np.full(volume.shape, translated, np.float32),
        returned=original + returned,
    )


def test_an_mri_beside_its_real_ct_shows_the_error_in_hu(volumes):
    shown = cycle(volumes, "mri", translated=100.0, returned=0.2)
    real = np.full(volumes["mri"].shape, -50, np.int16)

    tiles = tiles_of(shown, PIXEL_MM, real)

    assert [tile.title for tile in tiles] == [
        *("MRI", "synthetic CT", "real CT", "synthetic - real", "returned MRI", "returned - MRI")
    ]
    windowings = [MRI, CT, CT, CHANGE_HU, MRI, CHANGE_MRI]
    assert [tile.windowing for tile in tiles] == windowings
    error, body = tiles[3].values, np.isfinite(tiles[3].values)
    assert (error[body] == 150).all()
    assert 0 < body.sum() < body.size  # outside the body nothing is said
    # In [-1, 1] a change of 0.2 is a tenth of the window.
    np.testing.assert_allclose(tiles[5].values[body], 0.1, atol=1e-6)


def test_a_ct_there_and_back_is_in_hu(volumes):
    per_unit = (WINDOW_HU[1] - WINDOW_HU[0]) / 2
    shown = cycle(volumes, "ct", translated=0.5, returned=100 / per_unit)

    original, synthetic, returned, change = tiles_of(shown, PIXEL_MM)

    assert (original.windowing, synthetic.windowing, change.windowing) == (CT, MRI, CHANGE_HU)
    body = np.isfinite(change.values)
    np.testing.assert_allclose(change.values[body], 100, atol=0.01)
    np.testing.assert_allclose(returned.values - original.values, 100, atol=0.01)


def test_each_plane_is_cut_through_the_body_upright_and_in_proportion(volumes):
    shown = cycle(volumes, "mri", translated=100.0, returned=0.0)
    real = np.full(volumes["mri"].shape, -50, np.int16)
    real[-1] = 700  # the uppermost slice

    planes = planes_of(shown, (3.0, *PIXEL_MM), real)
    pictures = plane_pictures(planes)

    assert [panel.title for panel in planes["sagittal"]] == [
        *("MRI", "synthetic CT", "real CT", "synthetic - real")
    ]
    assert planes["axial"][0].size_mm == (64, 32)
    for name in ("coronal", "sagittal"):
        assert (planes[name][2].values[0] == 700).all()
        assert (planes[name][2].values[1:] == -50).all()
    assert planes["coronal"][0].size_mm == (12, 32)
    assert planes["sagittal"][0].size_mm == (12, 64)
    for name, ratio in (("axial", 0.5), ("coronal", 32 / 12), ("sagittal", 64 / 12)):
        rows, columns, _ = pictures[name].shape
        assert columns / 2 == pytest.approx(PLANE_HEIGHT * ratio, abs=2)
        title = rows // 2 - PLANE_HEIGHT
        assert 0 < title < 50
        assert pictures[name][:title].max() > 200, "titles"


def test_a_difference_is_red_where_too_high_and_blue_where_too_low_and_tiles_keep_their_shape(
    volumes,
):
    """In the middle of the fourth tile, which is body in every random head."""
    colours = []
    for translated in (450.0, -450.0):
        shown = cycle(volumes, "mri", translated=translated, returned=0.0)
        rows = [tiles_of(shown, PIXEL_MM, np.zeros(volumes["mri"].shape, np.int16))]
        picture = validation_figure(rows)
        height, width, _ = picture.shape
        square = width / 6
        assert picture.dtype == np.uint8
        assert height > 2 * square  # pixels twice as tall as wide
        colours.append(picture[round(square), round(3.5 * square)].astype(int))

    (red, _, blue), (other_red, _, other_blue) = colours
    assert red > blue + 100
    assert other_blue > other_red + 100
