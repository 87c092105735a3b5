"""No file of an input folder vanishes: it is taken, refused or counted by kind."""

from collections import Counter

import pytest

from cyclegan.translate.inputs import find_inputs
from data_prep.datasets.folders import find_in_folders
from data_prep.datasets.synthrad import find_in_synthrad
from data_prep.datasets.unread_files import kind_of, unread_files
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.tolerances import Leniency
from tests.support.series import write_series
from tests.support.volumes import touch_files

UNREAD = {
    "p1.mgz": "FreeSurfer volume",
    "p2.mnc": "MINC volume",
    "p3.nii.zst": "compressed volume",
    "p4.nii.bz2": "compressed volume",
    "p5.img.gz": "voxels of a header in another file",
    "p6.zip": "archive",
    "p7.tar.gz": "archive",
    "p8.npy": "array without a geometry",
    "p9.nii.gz.part": "unfinished download",
    "p10.dcm.gz": "compressed volume",
    "p11.PAR": "volume of a format that is not read",
    "p12.json": "file that is no volume (.json)",
    "p13.Mueller": "file of another kind",
    ".DS_Store": "hidden file",
}


def counted(skipped: Counter[str]) -> Counter[str]:
    """The counts by the beginning of their kind."""
    kinds = dict.fromkeys(UNREAD.values())
    return Counter({k: n for k in kinds for each, n in skipped.items() if each.startswith(k)})


def test_every_unread_file_is_counted_by_kind_and_named_by_none(tmp_path):
    write_series(tmp_path / "mri/dicom", modality="MR")
    for name in ("sound.nii", *UNREAD):
        (tmp_path / "mri" / name).write_bytes(b"some bytes")

    found = find_in_folders({"mri": tmp_path / "mri"}, Leniency())

    assert len(found.volumes) == 2
    assert counted(found.skipped) == Counter(UNREAD.values())
    assert found.skipped.total() == len(UNREAD)
    assert "mueller" not in str(found.skipped).lower()


@pytest.mark.parametrize("name", ["a.nii.gz.bz2", "a.nrrd.gz", "a.hdr.gz", "a.mha.gz"])
def test_a_volume_in_a_second_wrapper_is_known(name):
    assert kind_of(name).startswith("compressed volume")


def test_folders_that_are_not_opened_are_counted(tmp_path):
    touch_files(tmp_path, "mri/a.nii", "far/b.nii", "mri/.trash/c.nii", "mri/x.zarr/zarr.json")
    (tmp_path / "mri/link").symlink_to(tmp_path / "far")

    counts = unread_files([tmp_path / "mri"], {tmp_path / "mri/a.nii"})

    assert sorted(kind[:13] for kind in counts) == [
        "Zarr image (.",
        "folder that i",
        "hidden folder",
    ]


def test_a_folder_given_twice_is_counted_once(tmp_path):
    write_series(tmp_path / "all/a", modality="CT")
    (tmp_path / "all/notes.txt").write_text("some text")
    write_series(tmp_path / "all/b", modality="MR")

    found = find_in_folders({"mri": tmp_path / "all", "ct": tmp_path / "all"}, Leniency())

    assert found.skipped["file that is no volume (.txt)"] == 1


def test_cases_of_synthrad_count_what_they_do_not_use(tmp_path):
    touch_files(tmp_path, *(f"1BA001/{name}.nii.gz" for name in ("mr", "ct", "mask", "dose")))
    touch_files(tmp_path, "overview/a.png")

    skipped = find_in_synthrad(tmp_path).skipped

    assert skipped == {
        "SynthRAD: volume file that is no mr, ct or mask of a case": 1,
        "file that is no volume (.png)": 1,
    }


def test_translate_counts_them_too(tmp_path):
    touch_files(tmp_path, "in/a.nii", "in/b.mgz")

    found = find_inputs(
        [tmp_path / "in"],
        tmp_path / "out",
        "mri",
        "test",
        PreprocessingSpec(spacing_mm=(3, 1, 1), size=(64, 64)),
        Leniency(),
    )

    assert len(found.inputs) == 1
    assert found.left.total() == 1
