"""Bad series planted among sound ones, and what a conversion of both must list and write."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mrct.storage.local_path import LocalPath
from tests.faults.case import converted
from tests.faults.injections import Inject
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

SERIES, BAD_EVERY = 200, 20
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


def convert_with_planted(folder: Path, series: range, bad_every: int) -> None:
    """Convert series of which one in `bad_every` is bad, then the sound ones alone, and compare."""
    bad = {
        number: FAULTS[number // bad_every % len(FAULTS)]
        for number in series
        if number % bad_every == bad_every - 1
    }
    for number in series:
        write(folder / "with", number, bad.get(number, ("", nothing, {})))
    planted = shutil.ignore_patterns(*(f"series {number}" for number in bad))
    shutil.copytree(folder / "with", folder / "without", ignore=planted)
    (folder / "key").write_text("k" * 64)
    # One split for all: who is in which one depends on the cohort.
    settings = {"key_file": folder / "key", "split": (1.0, 0.0, 0.0)}

    outcome = converted(folder / "with", folder / "with.zarr", "CT", **settings)
    sound = converted(folder / "without", folder / "without.zarr", "CT", **settings)

    listed = {Path(line["path"]).name: line["code"] for line in outcome.quarantine}
    assert listed == {f"series {number}": code for number, (code, _, _) in bad.items()}
    assert len(outcome.quarantine) == len(bad)
    assert sound.quarantine == []
    assert outcome.report.written == len(series) - len(bad)
    assert files_of(folder / "with.zarr") == files_of(folder / "without.zarr")


@contextmanager
def planted_series(folder: LocalPath) -> Iterator[Inject]:
    """Each injection plants a bad series among every `BAD_EVERY` of `SERIES`."""

    def inject(number: int) -> None:
        here = folder / str(number)
        convert_with_planted(here, range(number * SERIES, (number + 1) * SERIES), BAD_EVERY)
        shutil.rmtree(here)

    yield inject
