"""Claim: a dry run of 20,000 DICOM files takes at most 1.1 times as long as at another commit.

A worktree of the commit REF and the files that are here each run the command on one folder of
small MR slices, in turns. The medians of their processor time are compared, since others may use
the machine. Exit code 1 where the claim fails.

    python -m benchmarks.dry_run [REF] [--files 20000] [--turns 5]
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.versions.side import GRID, CommandError, Side, machine, sides_of

SLICES = 100
MOST = 1.1
_MR = "1.2.840.10008.5.1.4.1.1.4"


def write_slices(folder: Path, num_files: int) -> None:
    """Write T1-weighted series of 100 slices, with the attributes that scanners write."""
    pixels = np.indices((16, 16)).sum(axis=0).astype("<u2").tobytes()
    for number in range(num_files // SLICES):
        series = folder / f"{number:03d}"
        series.mkdir(parents=True)
        series_uid = generate_uid()
        for index in range(SLICES):
            dataset = _slice(number, index, series_uid)
            dataset.PixelData = pixels
            dataset["PixelData"].VR = "OW"
            dataset.save_as(series / f"{index:03d}.dcm", enforce_file_format=True)


def _slice(patient: int, index: int, series_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, _MR
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
        "SOPClassUID": _MR,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "MR",
        "Manufacturer": "MAKER",
        "PatientID": f"P{patient}",
        "PatientName": f"P{patient}",
        "ScanningSequence": "SE",
        "SequenceVariant": ["SK", "SP"],
        "ScanOptions": "SAT1",
        "MRAcquisitionType": "2D",
        "SliceThickness": 1,
        "RepetitionTime": 550,
        "EchoTime": 12,
        "FlipAngle": 90,
        "AngioFlag": "N",
        "EchoNumbers": 1,
        "StudyInstanceUID": f"1.2.{patient}",
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": 3,
        "AcquisitionNumber": 1,
        "InstanceNumber": index + 1,
        "ImagePositionPatient": [-8, -8, index],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": f"1.2.{patient}.9",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 16,
        "Columns": 16,
        "PixelSpacing": [1, 1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def seconds_of(side: Side, folder: Path) -> float:
    """Return the processor time of one dry run."""
    started = os.times()
    out = folder.parent / "out.zarr"
    side.run("data_prep convert", "--mri", folder, "--out", out, "--dry-run", *GRID)
    ended = os.times()
    user = ended.children_user - started.children_user
    return user + ended.children_system - started.children_system


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ref", nargs="?", default="HEAD")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    with sides_of(arguments.ref) as sides, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "slices"
        write_slices(folder, arguments.files)
        times: dict[str, list[float]] = {side.label: [] for side in sides}
        for turn in range(arguments.turns):
            for side in sides[:: -1 if turn % 2 else 1]:
                times[side.label].append(seconds_of(side, folder))
    before, here = (statistics.median(each) for each in times.values())
    print(f"{arguments.files} files, {arguments.turns} turns, {machine()}")
    print(f"{before:.1f} s before, {here:.1f} s here: {here / before:.2f} times (most {MOST})")
    return int(here > MOST * before)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit(f"error: {error}")
