"""One series UID with several images at each position becomes one volume for each of them."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from data_prep.dicom.reader import read_series
from data_prep.dicom.series import Series, find_series, refusal
from data_prep.readers.tolerances import Leniency
from mrct.errors import VolumeError
from tests.support.series import (
    Change,
    both,
    nothing,
    pixels_of,
    set_pixels,
    setting,
    write_enhanced,
    write_series,
)

ORIGINAL = ["ORIGINAL", "PRIMARY"]


def brighter(number: int) -> Change:
    """Other pixels for each image at a position."""
    return lambda index, dataset: set_pixels(dataset, pixels_of(dataset).astype(int) + 10 * number)


def write_images(folder, *changes: Change, modality: str = "MR", without=()):
    """One series with an image for each change at every position."""
    for number, change in enumerate(changes):
        name = f"{number}-{{:03d}}.dcm"
        write_series(
            folder, both(change, brighter(number)), modality=modality, name=name, without=without
        )
    return folder


def usable(folder) -> list[Series]:
    return [series for series in find_series(folder) if refusal(series) is None]


def image_type(*words: str) -> Change:
    return setting(ImageType=list(words))


ONE_OF = {
    "echoes": [setting(EchoTime=te) for te in (22, 44, 90)],
    "time points": [setting(TemporalPositionIdentifier=n) for n in (1, 2)],
    "cardiac phases": [setting(TriggerTime=ms) for ms in (0, 400)],
    "acquisitions": [setting(AcquisitionNumber=n) for n in (1, 2, 3)],
    "weightings": [setting(DiffusionBValue=float(b)) for b in (0, 1000)],
    "inversions": [setting(InversionTime=ms) for ms in (700, 2500)],
    "two attributes": [
        setting(EchoTime=te, AcquisitionNumber=n) for te in (22, 90) for n in (1, 2)
    ],
    "before and after contrast": [nothing, setting(ContrastBolusAgent="Dotarem")],
}


@pytest.mark.parametrize("what", ONE_OF)
def test_images_at_one_position_are_volumes_of_their_own(tmp_path, what):
    write_images(tmp_path, *ONE_OF[what])

    found = usable(tmp_path)

    assert [len(series.headers) for series in found] == [8] * len(ONE_OF[what])
    assert len({series.name for series in found}) == len(found)
    means = [float(read_series(each, pseudonym="p").voxels.mean()) for each in found]
    np.testing.assert_allclose(np.diff(means), 10, atol=1e-3)


def test_the_volumes_of_a_dixon_series_have_a_kind_each(tmp_path):
    words = [("IP",), ("OP",), ("DIXON", "WATER"), ("DIXON", "FAT")]
    write_images(tmp_path, *(image_type(*ORIGINAL, *each) for each in words))

    kinds = [series.kind for series in usable(tmp_path)]

    assert kinds == ["in-phase", "opposed-phase", "dixon-water", "dixon-fat"]


def test_magnitude_and_phase_in_turn_are_taken_apart(tmp_path):
    def in_turn(index, dataset):
        dataset.ImageType = [*ORIGINAL, "P" if index % 2 else "M"]

    write_series(tmp_path, in_turn, modality="MR")

    magnitude, phase = find_series(tmp_path)

    assert (len(magnitude.headers), magnitude.modality) == (4, "mri")
    assert (phase.error.code, phase.modality) == ("phase-image", None)


@pytest.mark.parametrize("in_frames", [True, False])
def test_frames_of_an_enhanced_object_are_judged_one_by_one(tmp_path, in_frames):
    def change(dataset):
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            item = Dataset()
            item.FrameType = [*ORIGINAL, "VOLUME", "NONE"]
            if number < 4 and in_frames:
                item.VolumeBasedCalculationTechnique = "MAX_IP"
            frame.CTImageFrameTypeSequence = Sequence([item])
        if not in_frames:
            dataset.VolumeBasedCalculationTechnique = "MAX_IP"

    write_enhanced(tmp_path / "a.dcm", change)

    found = find_series(tmp_path)

    left = [len(series.headers) for series in found if series.modality is None]
    assert left == ([4] if in_frames else [8])
    assert {series.error.code for series in found if series.modality is None} == {"projection"}


def test_a_slice_missing_from_one_echo_is_missing(tmp_path):
    write_series(tmp_path, setting(EchoTime=22), modality="MR", name="a{}")
    write_series(tmp_path, setting(EchoTime=90), modality="MR", name="b{}", without={3})

    codes = [error.code if (error := refusal(each)) else None for each in find_series(tmp_path)]

    assert codes == [None, "slice-missing"]


def test_what_no_attribute_explains_is_refused_as_a_whole(tmp_path):
    write_images(tmp_path, nothing, nothing)

    (series,) = find_series(tmp_path)

    with pytest.raises(VolumeError) as caught:
        read_series(series, pseudonym="p")
    assert caught.value.code == "duplicate-position"


def test_an_attribute_of_every_slice_splits_nothing(tmp_path):
    write_series(tmp_path, lambda i, d: setattr(d, "TriggerTime", 100.0 * i), modality="MR")

    assert [len(series.headers) for series in usable(tmp_path)] == [8]


def at_heights(*heights: float) -> Change:
    return lambda index, dataset: setattr(
        dataset, "ImagePositionPatient", [-8, 10, -90 + heights[index]]
    )


WOVEN = at_heights(0, 1.3, 3, 4.3, 6, 7.3, 9, 10.3)


def test_two_passes_over_one_region_are_taken_apart_by_their_number(tmp_path):
    number = lambda i, d: setattr(d, "AcquisitionNumber", 1 + i % 2)  # noqa: E731
    write_series(tmp_path, both(WOVEN, number))

    assert [len(series.headers) for series in usable(tmp_path)] == [4, 4]


def test_two_passes_without_a_number_are_never_interpolated(tmp_path):
    write_series(tmp_path, WOVEN)
    (series,) = find_series(tmp_path)

    error = refusal(series, Leniency(resample_irregular=True, max_gap=100.0))

    assert error.code == "irregular-spacing"
    assert "Two passes are interleaved" in error.reason
    assert "--resample-irregular" not in error.remedy


def test_the_passes_of_one_even_stack_stay_one_volume(tmp_path):
    write_series(tmp_path, lambda i, d: setattr(d, "AcquisitionNumber", 1 + i % 2))

    assert [len(series.headers) for series in usable(tmp_path)] == [8]


def test_a_slice_missing_between_passes_does_not_part_them(tmp_path):
    number = lambda i, d: setattr(d, "AcquisitionNumber", 1 + i % 2)  # noqa: E731
    write_series(tmp_path, number, without={6})

    assert [refusal(series).code for series in find_series(tmp_path)] == ["slice-missing"]


@pytest.mark.parametrize(("last", "accepted"), [(22.5, True), (25.0, False), (298.0, False)])
def test_interpolation_invents_one_slice_in_a_row_at_most(tmp_path, last, accepted):
    write_series(tmp_path, at_heights(0, 3, 6, 9, 12, 15, 18, last))
    (series,) = find_series(tmp_path)

    error = refusal(series, Leniency(resample_irregular=True))

    assert (error is None) == accepted
    assert ("Give --resample-irregular" in refusal(series).remedy) == accepted
    assert refusal(series, Leniency(resample_irregular=True, max_gap=1000.0)) is None


def test_images_in_acquisition_counts_the_images_of_all_echoes(tmp_path):
    echoes = [setting(EchoTime=te, ImagesInAcquisition=16) for te in (22, 90)]
    write_images(tmp_path / "whole", *echoes)
    write_images(tmp_path / "part", *echoes, without={7})

    assert len(usable(tmp_path / "whole")) == 2
    assert [refusal(each).code for each in find_series(tmp_path / "part")] == ["images-missing"] * 2


def test_an_echo_that_was_split_off_is_whole(tmp_path):
    split_off = setting(EchoTime=22, EchoNumbers=1, ImagesInAcquisition=16)
    write_series(tmp_path / "whole", split_off, modality="MR")
    write_series(tmp_path / "part", split_off, modality="MR", without={0})

    assert len(usable(tmp_path / "whole")) == 1
    assert [refusal(each).code for each in find_series(tmp_path / "part")] == ["images-missing"]
