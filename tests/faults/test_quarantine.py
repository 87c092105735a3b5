"""P7: the run goes on, and the quarantine is exact: it lists what was planted, and nothing else
changes by a byte.

42 series under `make test-all`, one of each fault among them; 1000 under `make faults`, 5 % of them
bad.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.case import converted
from tests.support.series import (
    both,
    lacking,
    nothing,
    on,
    pixels_of,
    set_pixels,
    setting,
    write_series,
)

NUM_SERIES, BAD_EVERY = (1000, 20) if os.environ.get("CYCLEGAN_FAULTS") == "full" else (42, 6)
FAULTS = [
    ("slice-missing", nothing, {"without": {3}}),
    ("rescale-missing", lacking(5, "RescaleSlope"), {}),
    ("gantry-tilt", nothing, {"step": (0, 1, 3)}),
    ("mixed-patients", on(2, PatientName="SECOND"), {}),
    ("header-incomplete", lacking(0, "ImagePositionPatient"), {}),
    ("images-missing", setting(ImagesInAcquisition=9), {}),
    ("modality-conflict", setting(RescaleIntercept=0), {}),
]


def own(number: int) -> Callable[[int, object], None]:
    """UIDs, a patient and a brightness of its own."""

    def change(index, dataset):
        dataset.StudyInstanceUID = f"1.2.8.{number}"
        dataset.SeriesInstanceUID = f"1.2.9.{number}"
        dataset.PatientID = f"patient {number}"
        tissue = pixels_of(dataset) > 1000
        set_pixels(dataset, pixels_of(dataset).astype(int) + number % 40 * tissue)

    return change


def write(folder: Path, number: int, fault=("", nothing, {})) -> None:
    _, change, how = fault
    write_series(folder / f"series {number}", both(own(number), change), **how)


def files_of(store: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)  # in full
def test_the_quarantine_lists_what_was_planted_and_the_rest_is_the_same_to_the_byte(tmp_path):
    bad = {
        number: FAULTS[number // BAD_EVERY % len(FAULTS)]
        for number in range(BAD_EVERY - 1, NUM_SERIES, BAD_EVERY)
    }
    for number in range(NUM_SERIES):
        write(tmp_path / "with", number, bad.get(number, ("", nothing, {})))
    planted = shutil.ignore_patterns(*(f"series {number}" for number in bad))
    shutil.copytree(tmp_path / "with", tmp_path / "without", ignore=planted)
    (tmp_path / "key").write_text("k" * 64)
    # One split for all: who is in which one depends on the cohort.
    settings = {"key_file": tmp_path / "key", "split": (1.0, 0.0, 0.0)}

    outcome = converted(tmp_path / "with", tmp_path / "with.zarr", "CT", **settings)
    sound = converted(tmp_path / "without", tmp_path / "without.zarr", "CT", **settings)

    listed = {Path(line["path"]).name: line["code"] for line in outcome.quarantine}
    assert listed == {f"series {number}": code for number, (code, _, _) in bad.items()}
    assert len(outcome.quarantine) == len(bad)
    assert sound.quarantine == []
    assert outcome.report.written == NUM_SERIES - len(bad)
    assert files_of(tmp_path / "with.zarr") == files_of(tmp_path / "without.zarr")
