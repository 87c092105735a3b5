"""A translated volume lies voxel for voxel where its input lies, whole, in HU."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cyclegan.export.metadata import Intensity
from cyclegan.translate.engine import prepare_input, translate
from mrct.errors import VolumeError
from mrct.imaging.intensity import MEDIAN_LEVEL
from mrct.imaging.volume import Volume
from tests.cyclegan.translate.conftest import RADII_MM, centred, head
from tests.support.models import INFO

# Stored to the left and to the back (LPS), 5 and 4 degrees oblique, 3.4 x 3 x 5.2 mm.
OBLIQUE = Rotation.from_euler("xz", [5, 4], degrees=True).as_matrix() @ np.diag([-3.4, -3.0, 5.2])
SHAPE = (37, 67, 49)


def inner(volume: Volume, margin: int = 3) -> np.ndarray:
    """Voxels of the body that lie deeper than its soft border and the model's voxels blur it."""
    body = volume.voxels > (-300 if volume.modality == "ct" else 200)
    return ndimage.binary_erosion(body, iterations=margin, border_value=1)


def test_an_identity_network_gives_an_oblique_ct_back_on_its_own_grid(make_model):
    ct = head("ct", SHAPE, centred(OBLIQUE, SHAPE))

    values = translate(ct, make_model())

    assert values.shape == ct.voxels.shape
    expected = (ct.voxels + 1024) / 4095 * 1000  # the window of a synthetic MRI
    deviation_hu = np.abs(values - expected)[inner(ct)] * 4.095
    # Two interpolations of a pattern with a slope of at most 12 HU per mm, and rounding of 4 HU.
    assert np.median(deviation_hu) < 5
    assert np.percentile(deviation_hu, 99) < 30


def test_an_mri_becomes_hu_and_air_outside_the_body(make_model):
    mri = head("mri", SHAPE, centred(OBLIQUE, SHAPE))

    model = make_model(direction="to_ct", inputs=("mri",))
    hu = translate(mri, model)

    assert hu.dtype == np.int16
    assert hu.min() == -1024
    assert hu.max() <= 3071
    assert (hu[mri.voxels < 1] == -1024).all()
    # An identity maps the MRI's window on the HU window, so HU is linear in the MRI.
    slope, offset = np.polyfit(mri.voxels[inner(mri)], hu[inner(mri)], 1)
    shown = prepare_input(model.info, mri)
    high = np.median(shown.voxels[shown.body]) * shown.scale / MEDIAN_LEVEL
    assert slope == pytest.approx(4095 / high, rel=0.03)
    assert offset == pytest.approx(-1024, abs=60)


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_a_standardised_mri_gives_the_ct_of_its_magnitudes(make_model, contrast):
    mri = head("mri", SHAPE, centred(OBLIQUE, SHAPE))
    model = make_model(
        direction="to_ct", inputs=("mri",), intensity=Intensity(mri_contrast=contrast)
    )
    expected = translate(mri, model)

    for voxels in (
        (mri.voxels - mri.voxels.mean()) / mri.voxels.std(),
        2 * mri.voxels / mri.voxels.max() - 1,
    ):
        hu = translate(replace(mri, voxels=voxels), model)
        np.testing.assert_array_equal(hu == -1024, expected == -1024)
        assert np.abs(hu - expected).max() <= 4  # the grey levels of the magnitudes, below 1000
    with pytest.raises(VolumeError) as refused:
        translate(replace(mri, voxels=np.where(mri.voxels > 200, voxels - 1, 0)), model)
    assert refused.value.code == "standardised"


def test_fill_in_a_ct_from_memory_is_air_and_the_caller_s_voxels_stay(make_model):
    ct = head("ct", SHAPE, centred(OBLIQUE, SHAPE))
    filled, air = ct.voxels.copy(), ct.voxels.copy()
    filled[:, :5], air[:, :5] = 0, -1024
    kept = filled.copy()

    ours, expected = (translate(replace(ct, voxels=v), make_model()) for v in (filled, air))

    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(filled, kept)


@pytest.mark.parametrize("contrast", ["plain", "inverted"])
def test_a_constant_network_fills_the_body_and_nothing_else(make_model, contrast):
    shape = (37, 97, 89)  # 291 x 303 mm, the model's grid 224 x 224: the rest is air too
    mri = head("mri", shape, centred(OBLIQUE, shape))
    intensity = Intensity(mri_contrast=contrast)

    hu = translate(
        mri,
        make_model(
            lambda image: image * 0 + 0.04, direction="to_ct", inputs=("mri",), intensity=intensity
        ),
    )

    assert np.unique(hu[inner(mri)]).tolist() == [round(1.04 * 2047.5 - 1024)]
    assert (hu[mri.voxels < 1] == -1024).all()


def test_all_48_orders_and_signs_of_the_axes_give_the_same_volume(make_model):
    spacing, shape = np.diag([8.0, 10.0, 12.0]), (15, 21, 19)
    ct, model = head("ct", shape, centred(spacing, shape)), make_model()
    expected = translate(ct, model)

    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            turned = ct.voxels.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
            # New axis i is old axis order[i]; affines count axes x, y, z, arrays z, y, x.
            steps = np.stack(
                [spacing[:, 2 - order[2 - i]] * signs[2 - i] for i in range(3)], axis=1
            )
            volume = Volume(
                voxels=np.ascontiguousarray(turned),
                affine=centred(steps, turned.shape),
                modality="ct",
                pseudonym="turned",
            )
            values = translate(volume, model)
            back = values[tuple(slice(None, None, sign) for sign in signs)].transpose(
                np.argsort(order)
            )
            # One unit for a rounding that falls the other way.
            np.testing.assert_allclose(back, expected, atol=1)


def test_a_body_larger_than_the_training_slices_is_translated_whole(make_model):
    ct, sizes = head("ct", SHAPE, centred(OBLIQUE, SHAPE)), set()

    def network(image):
        sizes.add(tuple(image.shape[-2:]))
        return image

    small = translate(
        ct, make_model(network, preprocessing=replace(INFO.preprocessing, size=(16, 24)))
    )
    size = max(sizes)  # the ends of the head fit into smaller ones

    assert size[0] % 4 == size[1] % 4 == 0
    assert size[0] * 4 > 2 * RADII_MM[1]
    assert (small[inner(ct)] > 100).all()
    large = translate(ct, make_model())
    # The grids share their centre, up to half of a voxel of the body's box.
    assert np.abs(small.astype(int) - large)[inner(ct)].mean() < 3


def normed(image: torch.Tensor) -> torch.Tensor:
    """What a slice becomes depends on all of its canvas, and on its conditions."""
    depth, slice_, height = image.unbind(1)
    spread = slice_.std((-2, -1), keepdim=True) + 0.1
    return ((slice_ - slice_.mean((-2, -1), keepdim=True)) / spread / 4 + depth / 8 + height / 8)[
        :, None
    ]


def test_slices_that_need_a_larger_canvas_do_not_change_the_others(make_model):
    """Wide shoulders in the lowest slices; those of the head have their own canvas."""
    shape = (34, 60, 80)
    ct = head("ct", shape, centred(np.diag([-4.0, -4.0, 6.0]), shape))
    shoulders = ct.voxels.copy()
    shoulders[5:9, 15:45, 3:-3] = 20 + np.arange(74)  # a constant value would be fill
    channels, widths = ("depth below the surface", "ct", "height"), []

    def network(image: torch.Tensor) -> torch.Tensor:
        widths.append(image.shape[-1])
        return normed(image)

    model = make_model(network, inputs=channels, conditions=True)
    alone = translate(ct, model)
    assert {*widths} == {56}

    wide = translate(replace(ct, voxels=shoulders), model)

    assert max(widths) > 56
    # Slices beside the shoulders share their smoothing.
    assert np.abs(wide[12:-2].astype(int) - alone[12:-2]).max() <= 1


@pytest.mark.parametrize(("slices", "spacing_mm"), [(1, 5), (2, 5), (12, 2), (7, 11)])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_few_slices_and_slices_at_the_end_of_a_stack_keep_their_hu(
    make_model, slices, spacing_mm, batch_size
):
    shape = (slices, 97, 83)
    ct = head("ct", shape, centred(np.diag([-2.0, -2.0, spacing_mm]), shape))

    values = translate(ct, make_model(), batch_size=batch_size)

    assert values.shape == shape
    deviation_hu = np.abs(values - (ct.voxels + 1024) / 4.095) * 4.095
    by_slice = [np.median(d[i]) for d, i in zip(deviation_hu, inner(ct), strict=True)]
    # Air let in over the edge of the stack would cost hundreds.
    assert max(by_slice) < 25


def test_the_wrong_modality_is_refused(make_model):
    affine = centred(OBLIQUE, SHAPE)

    with pytest.raises(VolumeError, match="this is a CT"):
        translate(head("ct", SHAPE, affine), make_model(direction="to_ct", inputs=("mri",)))
    mri = head("mri", SHAPE, affine)
    posing = Volume(voxels=mri.voxels, affine=affine, modality="ct", pseudonym="posing")
    with pytest.raises(VolumeError, match="without air"):
        translate(posing, make_model())
