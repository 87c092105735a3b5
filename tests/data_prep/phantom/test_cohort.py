"""A cohort holds who was asked for: one head per subject, scanned as in practice."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from scipy import ndimage

from data_prep.datasets.manifest import Row, find_in_manifest, read_manifest
from data_prep.datasets.nifti_facts import file_facts
from data_prep.dicom.image_kind import PHANTOM
from data_prep.phantom.cohort import ODD_FOLDER, make_cohort
from data_prep.phantom.settings import CohortOrigin, CohortSettings, read_origin
from data_prep.readers.nifti import read_nifti
from mrct.errors import UsageError
from mrct.imaging.volume import Grid, Volume

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
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    manifest = make_cohort(tmp_path_factory.mktemp("c"), settings=TINY, seed=5, num_workers=1)
    return read_manifest(manifest)


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


def voxels_of(folder: Path, **changes) -> dict[str, np.ndarray]:
    """The voxels of each scan by modality, number and split, of a cohort of other settings."""
    rows = read_manifest(
        make_cohort(folder, settings=replace(TINY, **changes), seed=5, num_workers=1)
    )
    return {
        f"{row.modality} {number} {row.split}": read_nifti(
            row.path, modality=row.modality, pseudonym="x"
        ).voxels
        for number, row in enumerate(rows)
    }


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return voxels_of(tmp_path_factory.mktemp("ordinary"))


@pytest.mark.parametrize(
    ("changes", "altered"),
    [
        ({"mri_fluid": 2.0}, {"mri 0 train", "mri 1 train", "mri 3 test", "ct 4 test"}),
        ({"ct_skull": 0.7}, {"ct 2 train"}),
        ({"ct_fat": 2.0}, {"ct 2 train"}),
        ({"ct_cut_mm": (45.0, 30.0)}, {"ct 2 train"}),
        ({"mri_cut_mm": (45.0, 0.0)}, {"mri 0 train", "mri 1 train"}),
        ({"contrast_agent": True}, {"mri 0 train", "mri 1 train", "mri 3 test"}),
        ({"mri_weighting": "t2"}, {"mri 0 train", "mri 1 train", "mri 3 test"}),
        ({"oddities": ("tumour",)}, {"mri 3 test", "ct 4 test"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_cohort_that_is_unlike_differs_in_what_was_asked_for_alone(
    ordinary, tmp_path, changes, altered
):
    found = voxels_of(tmp_path, **changes)

    assert found.keys() == ordinary.keys()
    assert {n for n in found if not np.array_equal(found[n], ordinary[n])} == altered


def test_a_cut_field_of_view_ends_lower_and_begins_higher(tmp_path):
    def reach_mm(cut_mm):
        settings = replace(TINY, num_train_mri=0, num_test=0, num_train_ct=3, ct_cut_mm=cut_mm)
        rows = read_manifest(make_cohort(tmp_path, settings=settings, seed=5, num_workers=1))
        ends = []
        for row in rows:
            volume = read_nifti(row.path, modality="ct", pseudonym="x")
            corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.voxels.shape[::-1]]))
            z = volume.affine[2, :3] @ corners.reshape(3, -1) + volume.affine[2, 3]
            ends.append((z.min(), z.max()))
        return np.array(ends)

    whole, cut = reach_mm((0.0, 0.0)), reach_mm((45.0, 30.0))

    above, below = whole[:, 1] - cut[:, 1], cut[:, 0] - whole[:, 0]
    half_voxel = 8 * 1.2 / 2 + 1  # counts are rounded up
    assert (above > -half_voxel).all()
    assert above.max() > 10
    assert (above < 45 + half_voxel).all()
    assert below.max() > 5
    assert (below < 30 + half_voxel).all()


def test_odd_test_subjects_come_in_turn_with_a_mask_on_their_ct(tmp_path):
    settings = replace(
        TINY, num_train_mri=0, num_train_ct=0, num_test=3, oddities=("bone-flap", "tilt")
    )
    rows = read_manifest(make_cohort(tmp_path, settings=settings, seed=5, num_workers=1))

    masks = sorted(path.name for path in (tmp_path / ODD_FOLDER).iterdir())
    assert masks == ["phantom-0000.nii.gz", "phantom-0002.nii.gz"]
    (first, *_) = [row for row in rows if row.modality == "ct"]
    ct = read_nifti(first.path, modality="ct", pseudonym="x")
    mask = read_nifti(tmp_path / ODD_FOLDER / masks[0], modality="ct", pseudonym="x")
    np.testing.assert_array_equal(mask.affine, ct.affine)
    assert 0.001 < mask.voxels.mean() < 0.1


def test_a_cohort_states_what_it_is_made_of(tmp_path):
    settings = replace(TINY, num_train_mri=1, num_train_ct=0, num_test=0, ct_cut_mm=(3.0, 0.0))
    make_cohort(tmp_path, settings=settings, seed=9, num_workers=1)

    assert read_origin(tmp_path) == CohortOrigin.now(seed=9, settings=settings)
    assert read_origin(tmp_path / "elsewhere") is None
    (listed,) = find_in_manifest(tmp_path / "manifest.csv").volumes
    assert listed.kind == file_facts(tmp_path / "ct" / "phantom-0000.nii.gz", "ct")[0] == PHANTOM
    assert file_facts(tmp_path / "ct" / "sub-01_T1w.nii.gz", "mri")[0] == "T1w"  # put beside them
    assert file_facts(tmp_path / "x.nii.gz", "ct")[0] == "unknown"
    written = (tmp_path / "phantom.json").read_text()
    (tmp_path / "phantom.json").write_text(written.replace("ct_skull", "of_the_future"))
    assert read_origin(tmp_path) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ct_skull": 0.0}, "Factors of thickness"),
        ({"mri_cut_mm": (-1.0, 0.0)}, "Cuts of"),
        ({"ct_cut_mm": (100.0, 90.0)}, "leave nothing"),
        ({"generator": "levels", "oddities": ("tilt",)}, "has no oddities"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        CohortSettings(**wrong)
