"""Tables, cushions, noise, ghosts, metal and real heads: the mask is the head, whole and alone."""

import numpy as np
import pytest
from scipy import ndimage

from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti
from mrct.imaging.body_mask import body_mask

SPACING_MM = (3.0, 1.5, 1.5)
Z, Y, X = np.meshgrid(
    *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip((56, 150, 150), SPACING_MM, strict=True)),
    indexing="ij",
)
DEPTH = (X / 74) ** 2 + (Y / 92) ** 2 + ((Z - 10) / 85) ** 2
EARS = (np.abs(np.abs(X) - 77) < 3) & (np.abs(Y - 8) < 16) & (np.abs(Z + 15) < 26)
HEAD = (
    (DEPTH < 1)
    | ((np.hypot(X, Y - 25) < 55) & (Z < 0))  # neck
    | ((np.abs(X) < 12) & (Y > -108) & (Y < -60) & (np.abs(Z + 20) < 18))  # nose
    | EARS
    | ((np.abs(X) < 78) & (np.abs(Y - 2) < 6) & (np.abs(Z + 15) < 20))
)
AIRWAY = (np.hypot(X, Y + 40) < 9) & (Z < 0)
TABLE_TOP = 105


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ct(*objects, noise_hu: float = 15) -> np.ndarray:
    """A head in air, then objects as (where, HU) where the head is not."""
    hu = np.select([AIRWAY, HEAD & (DEPTH < 0.88) & (DEPTH > 0.75), HEAD], [-1000, 1200, 40], -1000)
    for where, value in objects:
        hu = np.where(where & ~HEAD, value, hu)
    blurred = ndimage.gaussian_filter(hu.astype(np.float32), (0.2, 0.4, 0.4))
    return blurred + np.random.default_rng(0).normal(0, noise_hu, HEAD.shape).astype(np.float32)


def mri(values=(900, 30, 500), sigma: float = 20, ghost: float = 0, bias: float = 0) -> np.ndarray:
    """Scalp, skull and brain in Rician noise, with ghosts a third of the field away."""
    scalp, skull, brain = values
    rind = HEAD & (DEPTH > 0.85) & (DEPTH < 1)
    signal = np.select([AIRWAY, rind, HEAD & (DEPTH > 0.73) & (DEPTH < 0.85)], [0, scalp, skull], 0)
    signal = np.where(HEAD & (signal == 0) & ~AIRWAY, brain, signal) * np.exp(-bias * Y / 90)
    signal = signal + ghost * (np.roll(signal, 50, 1) + np.roll(signal, -50, 1))
    random = np.random.default_rng(0)
    noisy = np.hypot(
        signal + random.normal(0, sigma, HEAD.shape), random.normal(0, sigma, HEAD.shape)
    )
    return noisy.astype(np.float32)


def checked(voxels, modality) -> np.ndarray:
    mask = body_mask(voxels, modality, spacing_mm=SPACING_MM)
    assert ndimage.label(mask)[1] == 1
    return mask


@pytest.mark.parametrize("cushion_hu", [-320, -600, -850])
@pytest.mark.parametrize("shell_mm", [2, 8])
def test_a_head_on_a_cushion_on_a_table_is_found_alone(cushion_hu, shell_mm):
    cushion = (Y > 70) & (Y < TABLE_TOP) & (np.abs(X) < 95)
    shell = (Y >= TABLE_TOP - 4) & (TABLE_TOP - 4 + shell_mm > Y) & (np.abs(X) < 110)

    mask = checked(ct((cushion, cushion_hu), (shell, 100)), "ct")

    assert dice(mask, HEAD) > 0.985
    assert not mask[shell].any()
    assert mask[cushion & ~HEAD].mean() < 0.03
    assert mask[AIRWAY & (Z > -45)].mean() > 0.99
    assert mask[EARS].mean() > 0.9


@pytest.mark.parametrize("shell_mm", [3, 6, 10])
def test_a_bare_shell_under_the_head_lets_go(shell_mm):
    flat = (np.abs(Y - 91 - shell_mm / 2) < shell_mm / 2) & (np.abs(X) < 110)
    bow = (np.abs(np.hypot(X / 1.25, Y - 2) - 92 - shell_mm / 2) < shell_mm / 2) & (Y > 20)

    for shell in (flat, bow):
        mask = checked(ct((shell, 100)), "ct")

        assert dice(mask, HEAD) > 0.985
        assert mask[shell & ~HEAD].mean() < 0.04
        assert not mask[shell & (np.abs(X) > 60)].any()


def test_metal_and_noise_do_not_spoil_a_ct():
    streaks = 600 * np.sign(np.sin(9 * np.arctan2(Y + 60, X - 20)))
    streaks *= (np.abs(Z + 35) < 6) * np.exp(-np.hypot(X - 20, Y + 60) / 60)
    filling = (np.abs(Z + 35) < 4) & (np.hypot(X - 20, Y + 60) < 6)
    metal = np.where(filling, 30000, ct() + streaks).clip(-1024, 3071).astype(np.float32)

    assert dice(checked(metal, "ct"), HEAD) > 0.985
    assert dice(checked(ct(noise_hu=100), "ct"), HEAD) > 0.985


@pytest.mark.parametrize("top", [30, 44])
def test_a_stack_that_ends_inside_the_head_is_masked_to_its_last_slice(top):
    assert dice(checked(ct()[10:top], "ct"), HEAD[10:top]) > 0.985
    assert dice(checked(mri()[10:top], "mri"), HEAD[10:top]) > 0.97


@pytest.mark.parametrize("sigma", [10, 75, 150])
@pytest.mark.parametrize(("ghost", "bias"), [(0, 0), (0.1, 0), (0, 0.5)])
def test_noise_ghosts_and_a_coil_s_bias_do_not_spoil_an_mri(sigma, ghost, bias):
    """Noise up to a third of the brain's signal, ghosts of a tenth; both at once with bias make
    ghosts of the bright front as bright as the dark back, which no threshold tells apart.
    """
    assert dice(checked(mri(sigma=sigma, ghost=ghost, bias=bias), "mri"), HEAD) > 0.96


def test_a_scalp_far_darker_than_the_brain_is_body():
    assert dice(checked(mri(values=(120, 15, 300), sigma=20), "mri"), HEAD) > 0.96


def test_the_outlines_of_an_mri_and_a_ct_lie_on_one_another():
    """Though the MRI's threshold is low, and its scalp blurs into the air by a voxel or two."""
    blurred = ndimage.gaussian_filter(mri(sigma=5), (0.4, 1, 1))

    ours, theirs = checked(blurred, "mri"), checked(ct(), "ct")

    here = slice(10, 46)  # of a slice that the head's top grazes neither is sure
    assert ours[here].sum() == pytest.approx(theirs[here].sum(), rel=0.01)
    assert dice(ours, theirs) > 0.985


def test_a_body_that_the_picture_cuts_reaches_its_border_though_it_is_dark_there():
    voxels = mri(sigma=5)
    dark = HEAD & (X > 30) & (X < 45)

    mask = checked(np.where(dark, 0.5 * voxels, voxels)[:, :, :105].astype(np.float32), "mri")

    rows = HEAD[20:40, 40:110, 104]
    assert mask[20:40, 40:110, 104][rows].mean() > 0.98


def test_a_signal_void_of_metal_at_the_surface_costs_the_void_alone():
    void = ((X - 20) / 22) ** 2 + ((Y + 80) / 30) ** 2 + ((Z + 30) / 20) ** 2 < 1
    mask = checked(np.where(void, 5, mri()).astype(np.float32), "mri")
    assert mask[HEAD & ~void].mean() > 0.99


REAL = {
    "ct_head/invesalius_cranium_ct": (0.27, 0.34),
    "ct_head/openkbp_pt_162_head_ct": (0.35, 0.43),
    "ct_head/openkbp_pt_236_head_ct": (0.31, 0.39),
    "ct_head/vtk_headsq_ct": (0.21, 0.28),
    "mri_head/openms_patient03_study1_T2W": (0.25, 0.32),
    "mri_head/openms_patient19_study2_T1W": (0.25, 0.32),
    "mri_head/seg3d_epilepsy_T1": (0.27, 0.34),
}
"""Body over field of 256 x 256 mm, from pictures of the outlines that were looked at."""


@pytest.mark.parametrize("name", REAL)
def test_real_heads_are_one_piece_of_the_expected_size(shared, name):
    modality = "ct" if name.startswith("ct") else "mri"
    made = preprocess(
        read_nifti(shared / f"{name}.nii.gz", modality=modality, pseudonym="p"), PreprocessingSpec()
    )

    low, high = REAL[name]
    assert low < made.body.mean() < high
    assert ndimage.label(made.body)[1] == 1
    assert made.cut.notes == ()
    # No slice has a hole, and no corner of the field is body.
    for slice_ in made.body:
        np.testing.assert_array_equal(ndimage.binary_fill_holes(slice_), slice_)
    assert not made.body[:, :20, :20].any()
    assert not made.body[:, -20:, :20].any()
    if name.endswith("162_head_ct"):  # its holder is a broken bow below the neck
        lower = made.voxels[:8] > -300
        rows = np.flatnonzero(made.body[:8].any(axis=(0, 2)))
        assert lower[:, rows[-1] + 4 :].any()
