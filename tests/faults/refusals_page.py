"""Generates docs/refusals.md from the actual output of `convert`.

python -m tests.faults.refusals_page      regenerates the page (needs the real volumes)
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable

from mrct.storage.local_path import LocalPath
from tests.faults import (
    harmful_formats,
    harmful_nifti,
    harmful_pixels,
    harmful_series,
    odd_but_legal,
    skipped_objects,
    wild,
)
from tests.faults.by_pytest import ROOT
from tests.faults.case import Case, Outcome, outcome_of

PAGE = ROOT / "docs/refusals.md"
SHARED = ROOT.parent / "shared/data"
HARMFUL = {
    "Slice positions": harmful_series.PLACES,
    "Several volumes in one series": harmful_series.MIXTURES,
    "Headers": harmful_series.HEADERS,
    "Files and pixels": harmful_pixels.FILES,
    "Units and modality": harmful_pixels.UNITS,
    "Enhanced multi-frame": harmful_pixels.ENHANCED,
    "NIfTI": harmful_nifti.CASES,
    "MHA and NRRD": harmful_formats.CASES,
}
LEGAL = {
    "DICOM": odd_but_legal.DICOM,
    "NIfTI": odd_but_legal.NIFTI,
    "MHA, NRRD": odd_but_legal.ITK,
}
HEAD = """\
# What is refused, and what is not

`convert` accepts a volume only if the position of every voxel and the unit of its values are
certain. A refused input is recorded in `OUT.quarantine.jsonl` with a code, a reason and a remedy;
all other inputs are converted (exit code 3), and nothing is deleted. The tables below list every
fault that the tests plant into a small sound volume of 8 slices, 3 mm apart, with the resulting
message. `python -m tests.faults.refusals_page` generates this page from the actual messages, and a
test fails if they differ.

Faults that show in neither headers nor values cannot be detected: rows and columns swapped in all
headers, left and right swapped when the orientation was written, a wrong patient under a correct
name. A missing end slice is detected if `ImagesInAcquisition` gives the number of images; otherwise
`describe --notes` lists the extent in mm and that it could not be checked.

The slices of a series share patient, study, series UID, frame of reference, matrix and orientation.
Several images at one position (echoes, Dixon contrasts, diffusion weightings, phases of the heart
or of a contrast agent, overlapping passes) are separated by ImageType or FrameType, b-value, echo
and inversion time, flip angle, contrast agent, temporal position, trigger time and
AcquisitionNumber, and each becomes a volume of its own; a note records this. What no attribute
explains is refused.

Localizers, phase images, projections and computed maps are recognised by the standard's attributes
(ImageType and FrameType, ComplexImageComponent, VolumetricProperties,
VolumeBasedCalculationTechnique), by what vendors write into ImageType, and localizers also by their
geometry. They are left out and counted, unless their kind is asked for by name
(`--mri-kind ADC`). What a header calls derived without saying how has the kind `derived` and a
note.

Slices with a series UID each, as in classic MR by Canon (dcm2niix issue 495), are joined if study,
series number, acquisition and kind of image agree; a note records this.

Voxel values are checked once for each volume, by the same rule in every format: equal values give
the same result as DICOM, NIfTI, MHA or NRRD.

Pixels that were once compressed with loss are accepted with a note, because archives do so. A CT as
8-bit JPEG has lost its HU and is refused by its values, or skipped as a secondary capture.
"""

Answer = Callable[[Case], Outcome]


def harmful_tables(answer: Answer) -> str:
    """Return a table for each kind of fault, with the messages that users see."""
    parts = ["## Harmful: refused\n"]
    for title, cases in HARMFUL.items():
        rows = []
        for case in cases:
            line = answer(case).quarantine[0]
            rows.append((case.what, f"`{line['code']}`", line["reason"], line["remedy"]))
        parts += [f"### {title}\n", table(("fault", "code", "what was found", "what to do"), rows)]
    return "\n".join(parts)


def skipped_objects_table(answer: Answer) -> str:
    """Return the table of objects that are counted and not converted."""
    rows = [
        (case.what, ", ".join(f"`{code}`" for code in answer(case).report.skipped))
        for case in skipped_objects.CASES
    ]
    head = "## Not a CT or MR volume: counted and skipped\n"
    return "\n".join([head, table(("object", "counted as"), rows)])


def legal_table() -> str:
    """Return the table of unusual inputs that must be accepted."""
    rows = [(kind, case.what) for kind, cases in LEGAL.items() for case in cases]
    head = "## Unusual but valid: accepted\n"
    return "\n".join([head, table(("format", "unusual property"), rows)])


def wild_table(answer: Answer) -> str:
    """Return the table of results for real files."""
    rows = []
    for case in wild.cases(SHARED):
        outcome = answer(case)
        reasons = [f"{r.reason} {r.remedy}" for r in outcome.report.refused]
        skipped = [f"skipped as `{code}`" for code in outcome.report.skipped]
        accepted = ["accepted"] if outcome.report.written and not case.is_beside else []
        rows.append((f"`{case.what}`", "; ".join(dict.fromkeys(accepted + reasons + skipped))))
    return "\n".join(["## Real files\n", table(("series", "result"), rows)])


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Format a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def main() -> None:
    """Convert all cases and write the page."""
    folder = LocalPath(tempfile.mkdtemp())
    try:
        answers: dict[int, Outcome] = {}

        def answer(case: Case) -> Outcome:
            if id(case) not in answers:
                answers[id(case)] = outcome_of(case, folder / str(len(answers)))
            return answers[id(case)]

        parts = [HEAD, harmful_tables(answer), skipped_objects_table(answer), legal_table()]
        PAGE.write_text("\n".join([*parts, wild_table(answer)]))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
