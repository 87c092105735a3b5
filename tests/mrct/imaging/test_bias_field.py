"""N4 takes out a known bias, keeps the unit, and gives equal bits for equal input."""

import numpy as np
import pytest
import SimpleITK

from mrct.imaging.bias_field import correct_bias

SPACING_MM = (5.0, 2.5, 2.5)
Z, Y, X = np.meshgrid(
    *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip((18, 44, 44), SPACING_MM, strict=True)),
    indexing="ij",
)
DEPTH = (X / 48) ** 2 + (Y / 52) ** 2 + (Z / 44) ** 2
BODY = DEPTH < 1
WHITE = (DEPTH < 0.25) | (DEPTH > 0.5) & (DEPTH < 0.7)
BIAS = np.exp(0.35 * np.sin(Y / 45) - 0.25 * X / 52)


def scan() -> np.ndarray:
    signal = np.where(BODY, np.where(WHITE, 700, 450), 0) * BIAS
    noise = np.random.default_rng(0).normal(0, 12, (2, *BODY.shape))
    return np.hypot(signal + noise[0], noise[1]).astype(np.float32)


@pytest.fixture(scope="module")
def corrected() -> np.ndarray:
    return correct_bias(scan(), BODY, spacing_mm=SPACING_MM)


def test_one_tissue_has_one_brightness_again(corrected):
    for tissue in (WHITE, BODY & ~WHITE):
        before, after = (
            image[tissue].std() / image[tissue].mean() for image in (scan(), corrected)
        )
        assert before > 0.15
        assert after < 0.3 * before


def test_the_unit_and_the_air_stay_what_they_are(corrected):
    ratio = corrected[BODY] / scan()[BODY]
    assert abs(np.log(ratio).mean()) < 1e-4
    assert np.percentile(corrected[~BODY], 99) < 2 * np.percentile(scan()[~BODY], 99)


def test_equal_input_gives_equal_bits(corrected):
    again = correct_bias(scan(), BODY, spacing_mm=SPACING_MM)
    assert again.tobytes() == corrected.tobytes()


def test_the_field_is_simpleitk_s_own(corrected):
    voxels = scan()
    image, mask = (
        SimpleITK.GetImageFromArray(voxels),
        SimpleITK.GetImageFromArray(BODY.astype(np.uint8)),
    )
    for picture in (image, mask):
        picture.SetSpacing(SPACING_MM[::-1])
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.Execute(SimpleITK.Shrink(image, [2, 2, 1]), SimpleITK.Shrink(mask, [2, 2, 1]))
    field = np.exp(SimpleITK.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)))

    ours = voxels / corrected

    relation = (ours / field)[BODY]
    np.testing.assert_allclose(relation, np.median(relation), rtol=0.01)
