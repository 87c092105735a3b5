"""Swapped --mri and --ct: both runs ask, and neither leaves an empty store."""

import pytest

from data_prep.__main__ import main
from data_prep.convert.convert import convert
from data_prep.convert.modality_swap import SWAPPED, seems_swapped
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import open_store
from mrct.errors import ExitCode
from tests.support.conversions import GRID
from tests.support.volumes import write_head


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    for number in range(2):
        write_head(root / f"mri/{number}.nii", "mri", number)
        write_head(root / f"ct/{number}.nii", "ct", number)
    return root


def arguments(mri, ct, out) -> list[str]:
    sizes = ["--spacing-mm", "6", "4", "4", "--size", "56", "48", "--workers", "0"]
    return ["convert", "--mri", str(mri), "--ct", str(ct), "--out", str(out), *sizes]


def test_the_dry_run_shows_what_its_trials_found_and_asks(heads, tmp_path, capsys):
    swapped = arguments(heads / "ct", heads / "mri", tmp_path / "s.zarr")

    assert main([*swapped, "--dry-run"]) == ExitCode.FAILED

    told = capsys.readouterr().out
    assert told.count("was converted in memory, REFUSED: modality-conflict") == 4
    assert "4 of 4 trial conversions were refused" in told
    assert SWAPPED in told
    assert list(tmp_path.iterdir()) == []


def test_the_conversion_asks_too_and_leaves_no_store(heads, tmp_path, capsys):
    swapped = arguments(heads / "ct", heads / "mri", tmp_path / "s.zarr")

    assert main(swapped) == ExitCode.FAILED

    assert SWAPPED in capsys.readouterr().err
    assert not (tmp_path / "s.zarr").exists()
    assert (tmp_path / "s.zarr.quarantine.jsonl").exists()


def test_a_trial_that_fails_beside_a_sound_one_is_shown(heads, tmp_path, capsys):
    for number in range(2):
        write_head(tmp_path / f"mri/{number}.nii", "ct" if number == 0 else "mri", number)
    mixed = arguments(tmp_path / "mri", heads / "ct", tmp_path / "s.zarr")

    assert main([*mixed, "--dry-run"]) == ExitCode.DONE

    told = capsys.readouterr().out
    assert "Input 1 (mri) was converted in memory, REFUSED: modality-conflict" in told
    assert "1 of 3 trial conversions were refused" in told
    assert SWAPPED not in told


def test_a_store_that_had_a_volume_stays_where_nothing_new_is_usable(heads, tmp_path):
    sizes = {**GRID, "workers": 0, "out": tmp_path / "s.zarr"}
    convert(ConvertSettings(mri=heads / "mri", **sizes))

    report = convert(ConvertSettings(mri=heads / "ct", key_file=tmp_path / "s.zarr.key", **sizes))

    assert (report.written, report.is_empty) == (0, False)
    assert len(open_store(tmp_path / "s.zarr").volumes) == 2


@pytest.mark.parametrize(
    ("mri", "ct", "expected"),
    [
        (["modality-conflict"] * 3, ["all-air", "modality-conflict"], True),
        (["negative-magnitudes"], ["modality-conflict"], True),
        (["modality-conflict"] * 3, [], False),
        (["modality-conflict"] * 3, ["", "", ""], False),
        (["modality-conflict", ""], ["modality-conflict", ""], False),
        (["gzip-damaged"] * 3, ["modality-conflict"] * 3, False),
    ],
)
def test_most_of_both_sides_must_conflict(mri, ct, expected):
    tried = [("mri", code) for code in mri] + [("ct", code) for code in ct]

    assert seems_swapped(tried) is expected
