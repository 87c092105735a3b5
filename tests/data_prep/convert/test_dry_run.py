"""A forecast says beforehand what a conversion then does."""

import pytest

from data_prep.convert.convert import convert
from data_prep.convert.dry_run import forecast_conversion
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import open_store
from tests.support.series import STEP_MM, write_series
from tests.support.volumes import write_head

GRID = {"spacing_mm": (6.0, 4.0, 4.0), "size": (56, 48), "workers": 0}


@pytest.fixture
def settings(tmp_path):
    for number in range(3):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
        write_head(tmp_path / f"ct/{number}.nii", "ct", number)
    return ConvertSettings(
        out=tmp_path / "s.zarr", mri=tmp_path / "mri", ct=tmp_path / "ct", **GRID
    )


def lines(settings: ConvertSettings, *, with_paths: bool = False) -> str:
    return "\n".join(forecast_conversion(settings).lines(with_paths=with_paths))


def test_with_the_key_at_hand_it_deals_the_splits_that_convert_deals(settings, tmp_path):
    convert(settings)
    written = {v.name: v.split for v in open_store(settings.out).volumes}
    (tmp_path / "s.zarr").rename(tmp_path / "moved.zarr")  # its key stays

    ahead = forecast_conversion(settings)

    assert ahead.has_key
    assert {s.name: job.split for job in ahead.jobs for s in job.sources} == written
    assert "slices for val" in "\n".join(ahead.lines(with_paths=False))


def test_the_bytes_are_near_what_the_store_then_has(settings):
    ahead = forecast_conversion(settings).bytes_needed

    convert(settings)

    files = [path for path in settings.out.rglob("*") if path.is_file()]
    assert ahead == pytest.approx(sum(path.stat().st_size for path in files), rel=0.15)


def test_what_is_stored_already_is_told_and_not_counted(settings):
    convert(settings)

    ahead = forecast_conversion(settings)

    assert (ahead.bytes_needed, ahead.seconds, ahead.samples) == (0, None, {})
    assert "0 volumes to convert, 6 already there, 0 refused" in lines(settings)


def test_paths_are_shown_only_where_they_may_be(settings, tmp_path):
    assert str(tmp_path / "mri/0.nii.gz") in lines(settings, with_paths=True)
    assert str(tmp_path / "mri") not in lines(settings)


def test_the_name_of_a_file_gives_a_terminal_no_command(settings, tmp_path):
    (tmp_path / "mri/0.nii.gz").rename(tmp_path / "mri/0\x1b[2J\nInput 9: fine.nii.gz")

    told = list(forecast_conversion(settings).lines(with_paths=True))

    assert all(line.isprintable() for line in told)
    assert any("0\\x1b[2J\\nInput 9: fine.nii.gz" in line for line in told)


def test_refusals_and_skipped_series_of_dicom_are_seen_without_a_pixel(tmp_path):
    lean = (0, 0.3 * STEP_MM, STEP_MM)
    write_series(tmp_path / "study/tilted", modality="CT", step=lean)
    write_series(tmp_path / "study/mr", modality="MR")
    settings = ConvertSettings(out=tmp_path / "s.zarr", ct=tmp_path / "study", **GRID)

    text = lines(settings)

    assert "Input 1: ct, DICOM (CT, 8 image(s) of 40 x 36), REFUSED: gantry-tilt" in text
    assert "Skipped 1: DICOM: other-modality" in text
    assert "0 volumes to convert" in text
    assert "CANARY" not in text
