"""The synthetic head shows what a head shows, twice the same for the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from scipy import ndimage

from data_prep.acquisition import (
    CtScan,
    MriScan,
    acquire_ct,
    acquire_mri,
    rician,
    spoiled_gradient_echo,
)
from data_prep.anatomy import Anatomy, make_anatomy
from data_prep.errors import UsageError
from data_prep.manifest import Row, read_manifest
from data_prep.nifti import read_nifti
from data_prep.phantom import CohortSettings, make_cohort
from data_prep.subject import Subject
from data_prep.tissue import Tissue
from data_prep.volume import Grid, Volume

SPACING_MM = 3.0
TINY = CohortSettings(
    num_train_mri=2,
    num_train_ct=1,
    num_val=0,
    num_test=1,
    in_plane_mm=4,
    slice_mm=8,
    anatomy_mm=4,
)


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return make_anatomy(Subject(), spacing_mm=SPACING_MM)


@pytest.fixture(scope="module")
def grid(head: Anatomy) -> Grid:
    return Grid(shape=head.fractions.shape[1:], affine=head.affine)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    manifest = make_cohort(tmp_path_factory.mktemp("c"), settings=TINY, seed=5, num_workers=1)
    return read_manifest(manifest)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def pure(anatomy: Anatomy, tissue: Tissue) -> np.ndarray:
    """Voxels that hold nothing but one tissue; thin tissues are taken where they prevail."""
    threshold = 0.999 if tissue not in (Tissue.SKIN, Tissue.BONE, Tissue.MARROW) else 0.8
    return anatomy.fractions[tissue] > threshold


def pair_of(rows: list[Row]) -> tuple[Volume, Volume]:
    mri, ct = [row for row in rows if row.pair]
    return (
        read_nifti(mri.path, modality="mri", pseudonym="m"),
        read_nifti(ct.path, modality="ct", pseudonym="c"),
    )


def onto(volume: Volume, grid: Grid, outside: float) -> np.ndarray:
    way = np.linalg.inv(volume.affine) @ grid.affine
    return ndimage.affine_transform(
        volume.voxels, way[2::-1, 2::-1], way[2::-1, 3], grid.shape, order=1, cval=outside
    )


# The head


def test_every_voxel_is_filled_exactly_once(head):
    np.testing.assert_allclose(head.fractions.sum(0), 1, atol=1e-5)
    assert head.fractions.min() >= 0


def test_the_same_subject_is_the_same_head_and_another_is_another(head):
    again = make_anatomy(Subject(), spacing_mm=SPACING_MM)
    other = make_anatomy(Subject.draw(rng()), spacing_mm=SPACING_MM)

    np.testing.assert_array_equal(again.fractions, head.fractions)
    skull, other_skull = (a.fractions[Tissue.BONE] > 0.3 for a in (head, other))
    assert 2 * (skull & other_skull).sum() / (skull.sum() + other_skull.sum()) < 0.8


@pytest.mark.parametrize(
    ("tissue", "low_ml", "high_ml"),
    [
        # Wide on purpose, since nobody fitted the phantom. BrainWeb's: 903, 671, 372 ml.
        (Tissue.GREY, 450, 950),
        (Tissue.WHITE, 350, 750),
        (Tissue.CSF, 120, 500),
        (Tissue.BONE, 250, 800),
        (Tissue.MARROW, 100, 600),
    ],
)
def test_volumes_of_tissues_are_those_of_an_adult(head, tissue, low_ml, high_ml):
    volume_ml = head.fractions[tissue].sum() * SPACING_MM**3 / 1000

    assert low_ml < volume_ml < high_ml


def test_the_skull_is_a_closed_shell_of_tables_around_marrow_at_the_vertex(head):
    x, y = (round(-head.affine[i, 3] / SPACING_MM) for i in (0, 1))
    column = head.fractions[:, :, y, x][:, ::-1]  # from above the vertex down

    order = [int(np.argmax(column[tissue])) for tissue in (Tissue.FAT, Tissue.MARROW)]
    assert order == sorted(order)
    above, below = column[Tissue.BONE, order[1] - 1], column[Tissue.BONE, order[1] + 1]
    assert above > 0.2
    assert below > 0.2


def test_the_cranial_cavity_holds_no_air_although_the_sinuses_beside_it_do(head):
    x, y, z = np.meshgrid(
        *(
            head.affine[i, 3] + SPACING_MM * np.arange(n)
            for i, n in zip((2, 1, 0), head.fractions.shape[1:], strict=True)
        ),
        indexing="ij",
    )[::-1]
    air = head.fractions[Tissue.AIR]

    assert air[(x**2 + (y + 6) ** 2 + (z - 20) ** 2) < 38**2].max() < 1e-5
    assert air[(abs(abs(x) - 25) < 8) & (abs(y - 48) < 8) & (abs(z + 63) < 8)].mean() > 0.8


def test_the_cortex_is_folded(head):
    """A smooth brain of this volume has a third of the surface between grey matter and white."""
    white = ndimage.binary_opening(head.fractions[Tissue.WHITE] > 0.5)
    surface = sum(np.abs(np.diff(white.astype(np.int8), axis=axis)).sum() for axis in range(3))
    ball = 1.5 * (36 * np.pi) ** (1 / 3) * white.sum() ** (2 / 3)  # in voxel faces

    assert surface > 3 * ball


# The scanners


def test_the_signal_equation_is_the_steady_state_of_its_pulses():
    t1_ms, tr_ms, flip = 800.0, 20.0, np.deg2rad(25)
    upright = 1.0
    for _ in range(2000):  # Bloch: tip, spoil what is transverse, recover
        transverse = upright * np.sin(flip)
        upright = 1 + (upright * np.cos(flip) - 1) * np.exp(-tr_ms / t1_ms)

    signal = spoiled_gradient_echo(t1_ms, 50.0, 0.8, tr_ms=tr_ms, te_ms=5, flip_deg=25)

    assert signal == pytest.approx(0.8 * transverse * np.exp(-5 / 50), rel=1e-9)


def test_the_signal_is_largest_at_the_ernst_angle():
    angles = np.linspace(1, 60, 5901)
    signals = [
        float(spoiled_gradient_echo(600, 50, 1, tr_ms=20, te_ms=5, flip_deg=a)) for a in angles
    ]

    assert angles[np.argmax(signals)] == pytest.approx(
        np.rad2deg(np.arccos(np.exp(-20 / 600))), 1e-3
    )


def test_noise_without_signal_is_rayleigh_and_with_much_signal_normal():
    air = rician(np.zeros((40, 50, 50), np.float32), 3.0, rng())
    tissue = rician(np.full((40, 50, 50), 300, np.float32), 3.0, rng())

    assert air.mean() == pytest.approx(3 * np.sqrt(np.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(3 * np.sqrt(2 - np.pi / 2), rel=0.01)
    assert tissue.mean() == pytest.approx(np.hypot(300, 3), rel=1e-3)
    assert tissue.std() == pytest.approx(3, rel=0.02)


def test_t1_contrast_ranks_tissues_as_in_patients(head, grid):
    mri = acquire_mri(head, grid, MriScan(bias=0, snr=200), rng())
    brightness = [
        np.median(mri[pure(head, tissue)])
        for tissue in (Tissue.FAT, Tissue.WHITE, Tissue.GREY, Tissue.CSF, Tissue.BONE, Tissue.AIR)
    ]

    assert brightness == sorted(brightness, reverse=True)
    assert brightness[0] > 1.4 * brightness[1], "scalp fat is the brightest: the known trap"
    assert brightness[4] < 0.25 * brightness[1], "bone is dark"


@pytest.mark.parametrize(
    ("tissue", "low_hu", "high_hu"),
    [
        (Tissue.AIR, -1010, -990),
        (Tissue.FAT, -120, -80),
        (Tissue.CSF, 0, 15),
        (Tissue.WHITE, 20, 34),
        (Tissue.GREY, 30, 45),
        (Tissue.MUSCLE, 40, 70),
        (Tissue.MARROW, 250, 800),
        (Tissue.BONE, 800, 1900),
    ],
)
def test_ct_numbers_are_the_published_ones(head, grid, tissue, low_hu, high_hu):
    ct = acquire_ct(head, grid, CtScan(), rng())

    assert low_hu < np.median(ct[pure(head, tissue)]) < high_hu


def test_ct_noise_has_the_spread_it_was_given(head, grid):
    ct = acquire_ct(head, grid, CtScan(noise_hu=9), rng())

    assert ct[pure(head, Tissue.WHITE)].std() == pytest.approx(9, rel=0.1)


def test_the_head_holder_lies_behind_the_head_and_touches_it_nowhere(head, grid):
    bare, held = (
        acquire_ct(head, grid, CtScan(noise_hu=0, holder=holder), rng()) for holder in (False, True)
    )
    holder = held - bare > 100
    rows = np.flatnonzero(holder.any((0, 2)))
    skin = np.flatnonzero((bare > -500).any((0, 2)))

    assert holder.any()
    assert rows.min() < skin.min()
    assert not (ndimage.binary_dilation(holder) & (bare > -500)).any()


# The cohort


def test_a_cohort_holds_who_was_asked_for(cohort):
    assert [(row.modality, row.split, row.pair is None) for row in cohort] == [
        ("mri", "train", True),
        ("mri", "train", True),
        ("ct", "train", True),
        ("mri", "test", False),
        ("ct", "test", False),
    ]
    assert len({row.subject for row in cohort}) == 4


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(cohort, tmp_path):
    manifest = make_cohort(tmp_path, settings=TINY, seed=5, num_workers=2)

    digests = [
        [hashlib.sha256(row.path.read_bytes()).hexdigest() for row in rows]
        for rows in (cohort, read_manifest(manifest))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(cohort)


def test_pairs_lie_on_different_grids_and_yet_show_one_head(cohort):
    mri, ct = pair_of(cohort)
    common = Grid(shape=ct.grid.shape, affine=ct.affine)
    magnitude = onto(mri, common, outside=0)

    assert mri.grid.shape != ct.grid.shape
    head = ndimage.binary_fill_holes(ndimage.binary_opening(ct.voxels > -300))
    bone = (ct.voxels > 500) & head
    soft = (np.abs(ct.voxels) < 80) & head
    skull = bone & ndimage.binary_erosion(head, iterations=2)  # without the skin's air beside it
    dark = {
        shift: magnitude[np.roll(skull, shift, (0, 1, 2))].mean()
        for shift in [
            (0, 0, 0),
            (1, 0, 0),
            (-1, 0, 0),
            (0, 1, 0),
            (0, -1, 0),
            (0, 0, 1),
            (0, 0, -1),
        ]
    }
    assert min(dark, key=dark.__getitem__) == (0, 0, 0), "the dark ring lies where CT has bone"
    assert dark[0, 0, 0] < 0.7 * np.median(magnitude[soft])


def test_scans_differ_in_storage_order_spacing_dtype_and_tilt(tmp_path):
    settings = CohortSettings(
        num_train_mri=8,
        num_train_ct=0,
        num_val=0,
        num_test=0,
        in_plane_mm=10,
        slice_mm=20,
        anatomy_mm=10,
    )
    rows = read_manifest(make_cohort(tmp_path, settings=settings, seed=1, num_workers=1))
    volumes = [read_nifti(row.path, modality="mri", pseudonym="x") for row in rows]

    assert len({aff2axcodes(v.affine) for v in volumes}) >= 3
    assert len({v.spacing_mm for v in volumes}) == 8
    axes = [np.abs(v.affine[:3, :3] / np.linalg.norm(v.affine[:3, :3], axis=0)) for v in volumes]
    tilts_deg = [np.rad2deg(np.arccos(a.max(0).min())) for a in axes]
    assert 1 < max(tilts_deg) < 15


def test_a_cohort_of_nobody_is_refused_before_any_work():
    with pytest.raises(UsageError, match="fewer than 0"):
        CohortSettings(num_test=-1)
    with pytest.raises(UsageError, match="above 0"):
        CohortSettings(in_plane_mm=0)


def test_the_manifest_moves_with_its_folder(cohort, tmp_path):
    folder = cohort[0].path.parent.parent

    moved = Path(folder).rename(tmp_path / "moved")
    try:
        assert len(read_manifest(moved / "manifest.csv")) == len(cohort)
    finally:
        moved.rename(folder)
