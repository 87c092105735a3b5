"""One input that is harmful, or odd and legal, and what the real `convert` makes of it."""

import json
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from data_prep.convert.convert import ConversionReport, convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import open_store
from mrct.storage.local_path import LocalPath
from tests.faults.injections import Inject
from tests.support.series import AXIAL, PIXEL_MM, STEP_MM, setting, values, write_series


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A folder of files with one thing wrong, or odd."""

    what: str
    """In a physicist's words; one line of the table."""
    make: Callable[[Path], object]
    """Writes it into an empty folder."""
    code: str = ""
    """Of the (first) refusal that it must meet; empty where it must be accepted."""
    is_beside: bool = False
    """Whether it needs a sound series beside it: alone, it is no input at all."""
    modality: str = "CT"
    voxels: np.ndarray | None = None
    """[z, y, x], what must arrive in HU or magnitudes where it differs from `values(modality)`."""
    orientation: tuple[float, ...] = AXIAL
    step: tuple[float, ...] | None = None

    @property
    def truth(self) -> np.ndarray:
        """[z, y, x] in the order of the slices."""
        return values(self.modality) if self.voxels is None else self.voxels

    @property
    def affine(self) -> np.ndarray:
        """(x, y, z, 1) voxel indices to RAS mm, from DICOM's definition (PS3.3 C.7.6.2.1.1)."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        step = STEP_MM * np.cross(row, column) if self.step is None else np.array(self.step)
        affine = np.eye(4)
        affine[:3] = np.stack(
            [row * PIXEL_MM[1], column * PIXEL_MM[0], step, np.array([-8, 10, -90])], axis=1
        )
        return np.diag([-1, -1, 1, 1]) @ affine


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a conversion of one folder came to."""

    report: ConversionReport
    volumes: tuple[np.ndarray, ...]
    """Voxels in the store."""
    affines: tuple[np.ndarray, ...]
    quarantine: list[dict[str, Any]]
    """The lines of the private list."""


def converted(folder: Path, out: Path, modality: str, **changes: object) -> Outcome:
    """Run the real `convert` on a folder, in this process."""
    settings: dict[str, Any] = {
        "out": out,
        "ct" if modality == "CT" else "mri": folder,
        # Not the source's own: then voxels could lie at its very rim, where rounding decides.
        "spacing_mm": (STEP_MM, 1.0, 1.0),
        "size": (48, 48),
        "workers": 0,
        **changes,
    }
    report = convert(ConvertSettings(**settings))
    store = None if report.is_empty else open_store(out)
    path = out.with_name(out.name + ".quarantine.jsonl")
    lines = path.read_text().splitlines() if path.exists() else []
    assert not lines or stat.S_IMODE(path.stat().st_mode) == 0o600
    return Outcome(
        report=report,
        volumes=tuple(store.voxels(volume) for volume in store.volumes) if store else (),
        affines=tuple(volume.affine for volume in store.volumes) if store else (),
        quarantine=[json.loads(line) for line in lines],
    )


def outcome_of(case: Case, folder: Path) -> Outcome:
    """Make a case's files below an empty folder and convert them."""
    source = folder / "in"
    source.mkdir(parents=True)
    case.make(source)
    if case.is_beside:
        write_series(source / "sound", setting(SeriesInstanceUID="1.2.9"), modality=case.modality)
    return converted(source, folder / "store.zarr", case.modality)


def require_refused(case: Case, outcome: Outcome) -> None:
    """A harmful input is quarantined with its code and a remedy."""
    assert outcome.report.written == len(outcome.volumes) == case.is_beside
    assert outcome.report.refused[0].code == case.code
    for line, refusal in zip(outcome.quarantine, outcome.report.refused, strict=True):
        assert (line["code"], line["name"]) == (refusal.code, refusal.name)
        assert line["reason"]
        assert line["remedy"]
        assert Path(line["path"]).exists()


def require_accepted(case: Case, outcome: Outcome, folder: Path) -> None:
    """An odd input that is legal arrives as it is meant: as a NIfTI file of nibabel's would."""
    truth = nibabel.Nifti1Image(case.truth.transpose().astype(np.float32), case.affine)
    truth.set_sform(case.affine, code=1)
    (folder / "truth").mkdir()
    nibabel.save(truth, folder / "truth/a.nii")
    expected = converted(folder / "truth", folder / "truth.zarr", case.modality)

    assert [refusal.code for refusal in outcome.report.refused] == []
    (voxels,), (affine,) = outcome.volumes, outcome.affines
    np.testing.assert_allclose(affine, expected.affines[0], atol=1e-4)
    # NIfTI keeps affines in 32 bits: where slices are turned, a rounding may tip over.
    np.testing.assert_allclose(voxels, expected.volumes[0], atol=1)
    assert (voxels != expected.volumes[0]).mean() < 1e-3


@contextmanager
def harmful_inputs(folder: LocalPath, cases: Sequence[Case]) -> Iterator[Inject]:
    """Each injection converts one harmful case."""

    def inject(number: int) -> None:
        require_refused(cases[number], outcome_of(cases[number], folder / str(number)))

    yield inject


@contextmanager
def odd_inputs(folder: LocalPath, cases: Sequence[Case]) -> Iterator[Inject]:
    """Each injection converts one odd and legal case, and the same by nibabel."""

    def inject(number: int) -> None:
        here = folder / str(number)
        require_accepted(cases[number], outcome_of(cases[number], here), here)

    yield inject
