"""Real heads of many scanners and fields of view find their place on one axis."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.describe import misfits_of
from data_prep.store.store import Store, StoredVolume, open_store

pytestmark = pytest.mark.slow
CURVATURE_MM = 95
"""Of the vertex, about: from the width of a slice the distance to the crown follows."""


@pytest.fixture(scope="module")
def store(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """All of them train: which would be left out depends on the key."""
    out = tmp_path_factory.mktemp("real") / "heads.zarr"
    report = convert(
        ConvertSettings(
            out=out,
            mri=shared / "mri_head",
            mri_kind=("all",),
            ct=shared / "ct_head",
            spacing_mm=(3.0, 2.4, 2.4),
            size=(112, 112),
            split=(1.0, 0.0, 0.0),
            workers=0,
        )
    )
    assert report.refused == ()
    return open_store(out)


def crown(store: Store, volume: StoredVolume) -> tuple[float, float]:
    """Where the crown lies on the axis in mm, and the width of the highest slice as a share of the
    widest in the upper two thirds."""
    held = np.flatnonzero(volume.outline[:, 0])
    width = volume.outline[held, 2]
    share = width[-1] / np.percentile(width[len(held) // 3 :], 90)
    above_mm = CURVATURE_MM * (1 - np.sqrt(1 - min(0.98, share) ** 2))
    return (held[-1] - volume.lowest) * store.spacing_mm[0] + above_mm, float(share)


def test_crowns_in_view_agree_within_5_mm_and_those_just_beyond_within_10(store):
    found = [crown(store, volume) for volume in store.volumes]

    in_view = [mm for mm, share in found if share < 0.4]
    assert len(in_view) >= 2, found
    assert np.ptp(in_view) <= 5, found
    near = [mm for mm, share in found if share < 0.75]
    assert len(near) >= 6, found
    assert np.abs(np.subtract(near, np.median(in_view))).max() <= 10, found


def test_all_of_them_fit_the_axis(store):
    assert store.axis.volumes == len(store.volumes) == 16
    assert misfits_of(store) == {}
