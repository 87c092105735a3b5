"""P6: no silently wrong volume. Each fault meets its code and a remedy, each oddity its voxels.

The faults stand in `harmful_series`, `harmful_pixels` and `harmful_nifti`, the oddities in
`odd_but_legal`; `docs/refusals.md` is written from the answers by `refusals_page`.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.faults import refusals_page, skipped_objects, wild
from tests.faults.case import (
    Case,
    Outcome,
    converted,
    outcome_of,
    require_accepted,
    require_refused,
)
from tests.faults.refusals_page import HARMFUL, LEGAL
from tests.support.series import write_series

HARMFUL_CASES = [case for cases in HARMFUL.values() for case in cases]
LEGAL_CASES = [
    pytest.param(case, id=f"{kind}: {case.what}") for kind, cases in LEGAL.items() for case in cases
]


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """Converts a case once, however many tests ask."""
    outcomes: dict[int, Outcome] = {}

    def ask(case: Case) -> Outcome:
        if id(case) not in outcomes:
            outcomes[id(case)] = outcome_of(case, tmp_path_factory.mktemp("case"))
        return outcomes[id(case)]

    return ask


def name(case: Case) -> str:
    return case.what


def test_there_are_faults_and_oddities_enough():
    assert len(HARMFUL_CASES) >= 40
    assert len(LEGAL_CASES) >= 15


@pytest.mark.parametrize("case", HARMFUL_CASES, ids=name)
def test_a_harmful_input_is_quarantined_with_its_code_and_a_remedy(case, answer):
    require_refused(case, answer(case))


@pytest.mark.parametrize("case", LEGAL_CASES)
def test_an_odd_input_that_is_legal_arrives_as_it_is_meant(case, answer, tmp_path):
    require_accepted(case, answer(case), tmp_path)


@pytest.mark.parametrize("case", skipped_objects.CASES, ids=name)
def test_what_is_no_ct_or_mr_is_skipped_and_counted(case, answer):
    outcome = answer(case)

    assert outcome.report.skipped == {f"DICOM: {case.code}": 1}
    assert outcome.report.refused == ()
    assert outcome.report.written == 1


@pytest.mark.parametrize("place", {**wild.ARCHIVES, **wild.FOLDERS, **wild.LEFT_ALONE})
def test_real_files_are_accepted_or_have_their_reason(place, shared, answer):
    case = next(case for case in wild_cases(shared) if case.what == place)

    report = answer(case).report

    if place in wild.LEFT_ALONE:
        assert f"DICOM: {case.code}" in report.skipped
    else:
        assert report.written == (not case.code)
        assert {refusal.code for refusal in report.refused} == ({case.code} - {""})


def wild_cases(shared: Path, made: list[Case] = []) -> list[Case]:  # noqa: B006  made once
    made[:] = made or wild.cases(shared)
    return made


@pytest.mark.parametrize("kept", np.linspace(0.02, 0.99, 25).round(3))
def test_a_file_cut_off_anywhere_never_leaves_a_shorter_volume(kept, tmp_path):
    """The last slice: no gap would show that it is gone."""
    folder = tmp_path / "in"
    path = write_series(folder) / "007.dcm"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

    outcome = converted(folder, tmp_path / "store.zarr", "CT")

    assert outcome.report.written == 0
    assert len(outcome.report.refused) == 1


def test_the_page_of_refusals_says_what_convert_answers(answer):
    page = refusals_page.PAGE.read_text()
    remedy = "regenerate it: python -m tests.faults.refusals_page"

    assert page.startswith(refusals_page.HEAD), remedy
    assert refusals_page.harmful_tables(answer) in page, remedy
    assert refusals_page.skipped_objects_table(answer) in page, remedy
    assert refusals_page.legal_table() in page, remedy
