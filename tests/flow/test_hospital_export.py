"""A hospital's export in one folder: every series is named, and what is asked for comes, alone."""

import pytest

from data_prep.convert.convert import convert
from data_prep.convert.dry_run import forecast_conversion
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import open_store
from tests.support.conversions import GRID
from tests.support.hospital import PATIENTS, TABLE, write_export


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"))


def settings(export, out, **choice: object) -> ConvertSettings:
    return ConvertSettings(mri=export, ct=export, out=out, workers=0, **GRID, **choice)


def test_the_table_of_a_dry_run_names_every_series(export, tmp_path):
    choice = {"mri_kind": ("T1w",), "ct_kind": ("native",)}
    forecast = forecast_conversion(settings(export, tmp_path / "s.zarr", **choice))

    rows = {(row.modality, row.kind, row.left_out): row for row in forecast.findings.kinds}
    assert {key: row.num_volumes for key, row in rows.items()} == TABLE
    assert {row.num_subjects for row in rows.values()} == {len(PATIENTS)}
    text = "\n".join(forecast.lines(with_paths=False))
    assert "--mri-kind dixon-water gives 6" in text
    assert text.count(", T1w, 3 x 40 x 36") == text.count(", native, 3 x 40 x 36") == 6
    assert "12 volumes to convert, 0 already there, 0 refused" in text
    assert "Skipped 6: DICOM: secondary-capture" in text
    assert not any(patient in text for patient in PATIENTS)


@pytest.mark.slow
def test_a_command_takes_t1_and_native_ct_and_a_second_one_dixon_water(export, tmp_path):
    first, second = tmp_path / "first.zarr", tmp_path / "second.zarr"

    report = convert(settings(export, first, mri_kind=("T1w",), ct_kind=("native",)))
    water = convert(
        ConvertSettings(mri=export, out=second, workers=0, **GRID, mri_kind=("dixon-water",))
    )

    assert (report.written, report.refused) == (12, ())
    assert (water.written, water.refused) == (6, ())
    store = open_store(first)
    assert len({volume.subject for volume in store.volumes}) == len(PATIENTS)
    kinds = [(volume.modality, volume.kind) for volume in store.volumes]
    assert sorted(kinds) == 6 * [("ct", "native")] + 6 * [("mri", "T1w")]
    assert {volume.modality for volume in open_store(second).volumes} == {"mri"}
