"""docs/refusals.md, written from what `convert` really answers.

python -m tests.faults.refusals_page      writes the page anew (needs the real volumes)
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from mrct.storage.local_path import LocalPath
from tests.faults import (
    harmful_formats,
    harmful_nifti,
    harmful_pixels,
    harmful_series,
    left_alone,
    odd_but_legal,
    wild,
)
from tests.faults.case import Case, Outcome, outcome_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/refusals.md"
SHARED = ROOT.parent / "shared/data"
HARMFUL = {
    "Slices out of place": harmful_series.PLACES,
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

`convert` takes a volume only if it is sure where every voxel lies and what its number means. What
it refuses goes to `OUT.quarantine.jsonl` with a code, a reason and a remedy; the rest goes on (exit
code 3), and nothing is deleted. Below is each fault that the tests plant into a small sound volume
of 8 slices, 3 mm apart, and what `convert` answers. `python -m tests.faults.refusals_page` writes
this page from the answers themselves, and a test fails where they differ.

What neither headers nor numbers show cannot be found: rows and columns swapped in all headers, left
and right swapped by whoever wrote the orientation, a wrong patient under a right name. A missing
end slice is found where `ImagesInAcquisition` tells how many there were; elsewhere `describe
--notes` gives the extent in mm and says that it could not be checked.

A series is what one patient, study and series UID have in common, in one frame of reference, matrix
and orientation. Slices with a series UID each, as Canon writes classic MR (dcm2niix issue 495), are
joined where study, series number, acquisition and kind of image agree, and that is noted.

Voxel values are judged once for each volume, by one rule in every format: the same numbers meet the
same answer as DICOM, NIfTI, MHA or NRRD.

Pixels that were once compressed with loss are accepted with a note, since archives do so; a CT as
8-bit JPEG has lost its HU and is refused by its numbers, or left alone as a secondary capture.
"""

Answer = Callable[[Case], Outcome]


def harmful_tables(answer: Answer) -> str:
    """A table for each kind of fault, with the words that a user reads."""
    parts = ["## Harmful: refused\n"]
    for title, cases in HARMFUL.items():
        rows = []
        for case in cases:
            line = answer(case).quarantine[0]
            rows.append((case.what, f"`{line['code']}`", line["reason"], line["remedy"]))
        parts += [f"### {title}\n", table(("fault", "code", "what was found", "what to do"), rows)]
    return "\n".join(parts)


def left_alone_table(answer: Answer) -> str:
    """What is counted and not converted."""
    rows = [
        (case.what, ", ".join(f"`{code}`" for code in answer(case).report.skipped))
        for case in left_alone.CASES
    ]
    head = "## No CT or MR volume: counted and left alone\n"
    return "\n".join([head, table(("object", "counted as"), rows)])


def legal_table() -> str:
    """What must pass."""
    rows = [(kind, case.what) for kind, cases in LEGAL.items() for case in cases]
    return "\n".join(["## Odd and legal: accepted\n", table(("format", "what is odd"), rows)])


def wild_table(answer: Answer) -> str:
    """The answers to real files."""
    rows = []
    for case in wild.cases(SHARED):
        outcome = answer(case)
        reasons = [f"{r.reason} {r.remedy}" for r in outcome.report.refused]
        skipped = [f"left alone as `{code}`" for code in outcome.report.skipped]
        accepted = ["accepted"] if outcome.report.written and not case.is_beside else []
        rows.append((f"`{case.what}`", "; ".join(dict.fromkeys(accepted + reasons + skipped))))
    return "\n".join(["## Real files\n", table(("series", "answer"), rows)])


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in cells)


def main() -> None:
    """Convert everything and write the page."""
    folder = LocalPath(tempfile.mkdtemp())
    try:
        answers: dict[int, Outcome] = {}

        def answer(case: Case) -> Outcome:
            if id(case) not in answers:
                answers[id(case)] = outcome_of(case, folder / str(len(answers)))
            return answers[id(case)]

        parts = [HEAD, harmful_tables(answer), left_alone_table(answer), legal_table()]
        PAGE.write_text("\n".join([*parts, wild_table(answer)]))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
