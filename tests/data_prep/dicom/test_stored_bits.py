"""Bits above BitsStored: graphics are cleared, values that go on in them are refused."""

import numpy as np
import pytest

from data_prep.dicom.reader import read_series
from mrct.errors import VolumeError
from tests.data_prep.dicom.test_series import only
from tests.support.series import SHAPE, both, set_pixels, setting, values, write_series

Z, Y, X = np.indices(SHAPE)
METAL = np.hypot(Y - 20, X - 18) < 4
SLOPE = 300 * (X + Y)


def stored(pixels, *, signed: bool = False):
    """A change to 12 stored bits of these numbers [z, y, x], whatever they are."""

    def change(index, dataset) -> None:
        dataset.PixelRepresentation = int(signed)
        set_pixels(dataset, pixels[index] & 0xFFFF)

    return change


CT = values("CT") + 1024
CONTINUED = {
    "metal of 4000 HU": ("CT", stored(np.where(METAL, 5024, CT))),
    "metal of 8000 to 20,000 HU": ("CT", stored(np.where(METAL, 9024 + 700 * X, CT))),
    "bone above 2047 in signed bits": (
        "CT",
        both(stored(np.where(METAL, 2500, CT - 1024), signed=True), setting(RescaleIntercept=0)),
    ),
    "an MR with 15 bits of grey": ("MR", stored(SLOPE)),
    "negative numbers in unsigned bits": (
        "CT",
        both(stored(CT - 1024), setting(RescaleIntercept=0)),
    ),
}
CLEARED = {
    "a line of text": (np.abs(Y - X) < 2, 0x8000),
    "an outline in the lowest unused bit": (np.abs(np.hypot(Y - 20, X - 18) - 8) < 1, 0x1000),
    "a filled box in all four": ((Y > 12) & (Y < 30) & (X > 10), 0xF000),
    "single pixels": ((7 * X + 3 * Y) % 11 == 0, 0x4000),
    "every pixel": (X >= 0, 0xA000),
}


@pytest.mark.parametrize("what", CONTINUED)
def test_values_that_continue_above_bits_stored_are_refused(tmp_path, what):
    modality, change = CONTINUED[what]

    with pytest.raises(VolumeError) as refused:
        read_series(only(write_series(tmp_path, change, modality=modality)), pseudonym="p")

    assert refused.value.code == "bits-stored"
    assert "beyond the 12 bits" in refused.value.reason


@pytest.mark.parametrize("what", CLEARED)
def test_graphics_above_bits_stored_are_cleared_and_counted(tmp_path, what):
    where, bits = CLEARED[what]
    notes: list[str] = []
    series = only(write_series(tmp_path, stored(CT | np.where(where, bits, 0))))

    volume = read_series(series, pseudonym="p", note=notes.append)

    np.testing.assert_array_equal(volume.voxels, values("CT"))
    assert f"{where.sum()} pixels had bits set above BitsStored, which were cleared." in notes
