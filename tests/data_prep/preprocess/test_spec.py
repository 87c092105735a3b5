"""One specification decides the voxels: it is in the store, and it is followed."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.preprocess import preprocess
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.nifti import read_nifti
from data_prep.store.store import open_store
from mrct.errors import StoreError, UsageError
from tests.support.volumes import write_head

SPEC = PreprocessingSpec(
    spacing_mm=(6.0, 4.0, 4.0), size=(56, 48), interpolation="cubic", bias_correction=True
)


def settings(tmp_path, **changes) -> ConvertSettings:
    given = {
        "mri": tmp_path / "mri",
        "out": tmp_path / "s.zarr",
        "spacing_mm": SPEC.spacing_mm,
        "size": SPEC.size,
        "interpolation": "cubic",
        "bias_correction": True,
        "workers": 0,
    }
    return ConvertSettings(**given | changes)


def test_the_store_keeps_the_recipe_and_refuses_another(tmp_path):
    path = write_head(tmp_path / "mri/a.nii.gz", "mri")
    convert(settings(tmp_path))

    store = open_store(tmp_path / "s.zarr")
    assert store.preprocessing == settings(tmp_path).preprocessing == SPEC
    volume = read_nifti(path, modality="mri", pseudonym="p")
    np.testing.assert_array_equal(
        store.voxels(store.volumes[0]), preprocess(volume, store.preprocessing).voxels
    )
    for change in ({"interpolation": "linear"}, {"bias_correction": False}):
        with pytest.raises(StoreError, match=next(iter(change))):
            convert(settings(tmp_path, **change))


def test_a_grid_that_networks_cannot_halve_is_refused():
    with pytest.raises(UsageError, match="multiples of 4"):
        replace(SPEC, size=(56, 50))
    with pytest.raises(UsageError, match=r"0\.01 to 100 mm"):
        replace(SPEC, spacing_mm=(6.0, 0.0, 4.0))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_ct_stays_in_its_window_whatever_rings(tmp_path, interpolation):
    volume = read_nifti(write_head(tmp_path / "c.nii", "ct"), modality="ct", pseudonym="p")
    volume.voxels[5, 30:34, 26:30] = 20000
    volume.voxels[:, :4] = -3024

    made = preprocess(volume, replace(SPEC, interpolation=interpolation))

    assert (made.voxels.min(), made.voxels.max()) == (-1024, 3071)
    # Metal of 20,000 HU would have rung far around itself.
    assert (made.voxels > 2000).sum() < 60


def test_bias_correction_is_for_mri_alone(tmp_path):
    ct = read_nifti(write_head(tmp_path / "c.nii", "ct"), modality="ct", pseudonym="p")
    plain, corrected = (
        preprocess(ct, replace(SPEC, bias_correction=asked)) for asked in (False, True)
    )
    np.testing.assert_array_equal(plain.voxels, corrected.voxels)
