"""dcm2niix makes as many volumes of a series with several images at each position, and the same."""

import subprocess
from pathlib import Path

import dcm2niix
import nibabel
import numpy as np
import pytest

from data_prep.dicom.reader import read_series
from data_prep.dicom.series import find_series
from tests.data_prep.dicom.test_splitting import ONE_OF, ORIGINAL, image_type, write_images
from tests.support.series import SHAPE, Change, both, setting

IMAGES = ONE_OF | {
    "Dixon": [image_type(*ORIGINAL, "DIXON", word) for word in ("WATER", "FAT", "IN_PHASE")],
}


def numbered(first: int) -> Change:
    return lambda index, dataset: setattr(dataset, "InstanceNumber", first + index)


def by_dcm2niix(folder: Path, out: Path) -> list[np.ndarray]:
    """All volumes of all files, their voxels in order of size, as it turns rows around."""
    out.mkdir()
    command = [dcm2niix.bin, "-b", "n", "-z", "n", "-f", "v", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    images = [nibabel.load(path).get_fdata() for path in sorted(out.glob("*.nii"))]
    stacked = [image.reshape(*image.shape[:3], -1) for image in images]
    return [np.sort(each[..., k], axis=None) for each in stacked for k in range(each.shape[3])]


@pytest.mark.parametrize("what", IMAGES)
def test_a_series_has_the_volumes_that_dcm2niix_makes_of_it(tmp_path, what):
    maker = setting(Manufacturer="SIEMENS", SeriesNumber=5)
    changes = [
        both(change, maker, numbered(1 + SHAPE[0] * number))
        for number, change in enumerate(IMAGES[what])
    ]
    folder = write_images(tmp_path / "in", *changes)

    ours = [
        np.sort(read_series(series, pseudonym="p").voxels, axis=None)
        for series in find_series(folder)
    ]
    theirs = by_dcm2niix(folder, tmp_path / "out")

    assert len(ours) == len(theirs) == len(changes)
    order = sorted(range(len(theirs)), key=lambda at: theirs[at].sum())
    for number, at in enumerate(order):
        np.testing.assert_array_equal(ours[number], theirs[at])
