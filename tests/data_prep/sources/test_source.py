"""A source is read in a process apart, and the volume is the one that would be read here."""

import hashlib
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from data_prep.dicom.reader import read_series
from data_prep.dicom.series import find_series
from data_prep.readers.formats import read_file
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from mrct.imaging.volume import ignore_note
from tests.support.series import pixels_of, set_pixels, write_series
from tests.support.volumes import write_head

ROOT = Path(__file__).resolve().parents[3]
LOADED_LATE = """
import pickle, sys
import data_prep.sources.sandbox_server
before = set(sys.modules)
read = pickle.load(open(sys.argv[1], "rb"))
read()
late = {name for name in sys.modules if name.split(".")[0] not in sys.stdlib_module_names}
print(*sorted(late - before))
"""


def source(path: Path, **more) -> Source:
    return Source(
        path=path, modality="ct", pseudonym="p", subject="s", split=None, pair=None, **more
    )


def without_rescale(index, dataset):
    """HU as they are, in signed numbers that nothing explains."""
    hounsfield = pixels_of(dataset).astype(int) - 1024
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    set_pixels(dataset, hounsfield)
    del dataset.RescaleSlope, dataset.RescaleIntercept


def assert_equal(volume, expected):
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert repr(volume) == repr(expected)


def test_a_file_of_each_format_is_the_same_from_there_and_from_here(tmp_path):
    nifti = write_head(tmp_path / "a.nii.gz", "ct")
    image = SimpleITK.ReadImage(nifti)
    SimpleITK.WriteImage(image, tmp_path / "b.mha", True)
    SimpleITK.WriteImage(image, tmp_path / "c.nrrd")

    for path in sorted(tmp_path.iterdir()):
        expected = read_file(path, modality="ct", pseudonym="p")
        assert_equal(source(path).read(ignore_note), expected)


def test_a_series_brings_its_notes_and_its_leniency(tmp_path):
    (series,) = find_series(write_series(tmp_path, without_rescale))
    here, there = [], []

    leniency = Leniency(assume_hu=True)
    expected = read_series(series, pseudonym="p", leniency=leniency, note=here.append)
    lenient = source(tmp_path, series=series, leniency=leniency)
    volume = lenient.read(there.append)

    assert_equal(volume, expected)
    assert there == here != []


def test_every_real_volume_is_read_apart(shared):
    paths = sorted(shared.glob("ct_head/*.nii.gz"))
    assert paths
    for path in paths[:3]:
        expected = read_file(path, modality="ct", pseudonym="p")
        assert_equal(source(path).read(ignore_note), expected)


def test_the_hash_is_that_of_the_bytes_whatever_the_files_are_called(tmp_path):
    path = write_head(tmp_path / "a.nii", "ct")
    assert source(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()

    folders = [write_series(tmp_path / "1"), write_series(tmp_path / "2", name="IM{:d}")]
    for old, new in zip(*(sorted(folder.iterdir()) for folder in folders), strict=True):
        new.write_bytes(old.read_bytes())
    first, second = (source(folder, series=find_series(folder)[0]).sha256() for folder in folders)
    assert first == second


@pytest.mark.parametrize("kind", ["nifti", "series"])
def test_the_server_has_loaded_what_its_children_read_with(kind, tmp_path):
    """Each child would else import it again, for seconds a volume."""
    if kind == "series":
        (series,) = find_series(write_series(tmp_path / "slices"))
        read = partial(read_series, series, pseudonym="p")
    else:
        read = partial(
            read_file, write_head(Path(tmp_path, "a.nii.gz"), "ct"), modality="ct", pseudonym="p"
        )
    (tmp_path / "read").write_bytes(pickle.dumps(read))

    command = [sys.executable, "-c", LOADED_LATE, tmp_path / "read"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)

    assert ended.stdout.split() == []
