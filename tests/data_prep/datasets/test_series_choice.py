"""Several kinds in one domain are never mixed unasked, and what is asked for is all that comes."""

import json
from pathlib import Path

import pytest

from data_prep.convert.conversion_plan import find_volumes
from data_prep.convert.settings import ConvertSettings
from data_prep.datasets.dataset import FoundVolumes
from data_prep.datasets.series_choice import table_lines
from mrct.errors import UsageError
from tests.support.series import both, setting, write_series
from tests.support.volumes import write_head

T1 = setting(EchoTime=12, RepetitionTime=550, ScanningSequence="SE")
T2 = setting(EchoTime=95, RepetitionTime=4500, ScanningSequence="SE")
ADC = setting(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two people with a T1 each, and a T2 and an ADC map of the first."""
    folder = tmp_path_factory.mktemp("study")
    for number, (person, change) in enumerate(
        [("anna", T1), ("bert", T1), ("anna", T2), ("anna", ADC)]
    ):
        own = setting(PatientID=person, SeriesInstanceUID=f"1.2.{number}")
        write_series(folder / str(number), both(change, own), modality="MR")
    return folder


def found(folder: Path, ask=None, **settings: object) -> FoundVolumes:
    settings = {"mri": folder, "out": folder / "out.zarr", **settings}
    return find_volumes(ConvertSettings(**settings), ask)


def kinds(found: FoundVolumes) -> list[str]:
    return [volume.kind for volume in found.volumes]


def test_several_kinds_without_a_choice_are_refused_with_the_command(study):
    with pytest.raises(UsageError) as caught:
        found(study)

    assert "MRI T1w           2 volume(s) of 2 subject(s)" in str(caught.value)
    assert "--mri-kind T1w" in str(caught.value)
    assert "--mri-kind all" in str(caught.value)
    assert "left out (derived-map) unless --mri-kind ADC" in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"mri_kind": ("T1w",)}, ["T1w", "T1w"]),
        ({"mri_kind": ("T2w", "T1w")}, ["T1w", "T1w", "T2w"]),
        ({"mri_kind": ("all",)}, ["T1w", "T1w", "T2w"]),
        ({"mri_kind": ("ADC",)}, ["ADC"]),
        ({"mri_where": "EchoTime < 30"}, ["T1w", "T1w"]),
        ({"mri_where": "EchoTime >= 30"}, ["T2w"]),
        (
            {"mri_kind": ("all",), "mri_where": "Plane == 'axial' and Slices == 8"},
            ["T1w"] * 2 + ["T2w"],
        ),
    ],
    ids=str,
)
def test_a_choice_takes_those_and_nothing_else(study, choice, expected):
    result = found(study, **choice)

    assert kinds(result) == expected
    assert result.skipped.total() == 4 - len(expected)
    assert sum(row.num_volumes for row in result.kinds) == 4


def test_the_table_says_what_each_choice_would_give(study):
    lines = list(table_lines(found(study, mri_kind=("T1w",)).kinds))

    assert len(lines) == 3
    assert "--mri-kind T1w gives 2" in lines[0]
    assert "axial 8 x 40 x 36 of 3 x 0.9 mm, TE 12 ms, TR 550 ms" in lines[0]
    assert "--mri-kind T2w gives 1" in lines[1]


def test_a_choice_that_leaves_nothing_shows_what_there_is(study):
    with pytest.raises(UsageError, match=r"leave no MRI volume of:\n  MRI T1w"):
        found(study, mri_kind=("FLAIR",))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mri_kind": ("T1",)}, "--mri-kind T1 is no kind of MRI"),
        ({"ct_kind": ("T1w",)}, "--ct-kind T1w is no kind of CT"),
        ({"mri_where": "TE < 30"}, "'TE' is no fact"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_read(tmp_path, wrong, said):
    with pytest.raises(UsageError, match=said):
        ConvertSettings(mri=tmp_path / "absent", out=tmp_path / "s.zarr", **wrong)


def test_on_a_terminal_the_kinds_are_asked_for(study):
    asked = []

    def ask(modality, lines, kinds):
        asked.append((modality, len(lines), list(kinds)))
        return ["T2w"]

    assert kinds(found(study, ask)) == ["T2w"]
    assert asked == [("mri", 3, ["T1w", "T2w"])]
    assert kinds(found(study, ask, mri_kind=("T1w",))) == ["T1w", "T1w"]
    assert len(asked) == 1


def test_one_kind_needs_no_choice_and_damaged_files_have_none(tmp_path):
    write_series(tmp_path / "a", T1, modality="MR")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/damaged.dcm").write_bytes(b"")

    result = found(tmp_path)

    assert [bool(volume.series.headers) for volume in result.volumes] == [True, False]
    assert len(result.kinds) == 1


def test_a_manifest_is_a_choice_also_of_a_map(study, tmp_path):
    rows = [f"{study / str(number)},mri,p{number}" for number in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["path,modality,subject", *rows]))
    settings = {"mri": None, "out": tmp_path / "s.zarr", "manifest": tmp_path / "list.csv"}

    assert kinds(found(study, **settings)) == ["T1w", "T1w", "T2w", "ADC"]
    with pytest.raises(UsageError, match="A manifest chooses the volumes itself"):
        found(study, **settings, mri_kind=("T1w",))


NAMES = {
    "sub-1_T1w.nii.gz": "T1w",
    "sub-1_ce-gd_T1w.nii.gz": "T1w-contrast",
    "sub-1_T2w.nii": "T2w",
    "patient_study1_T2W.nii.gz": "T2w",
    "sub-1_FLAIR.nii.gz": "FLAIR",
    "sub-1_PDw.nii.gz": "PDw",
    "anna.nii.gz": "unknown",
    "t1.nii.gz": "unknown",
}


def test_the_kind_of_a_file_follows_from_its_bids_name(tmp_path):
    for name in NAMES:
        write_head(tmp_path / name, "mri", 1)

    result = found(tmp_path, mri_kind=("all",))

    assert {volume.path.name: volume.kind for volume in result.volumes} == NAMES
    with pytest.raises(UsageError, match="of 6 kinds"):
        found(tmp_path)


SIDECARS = {
    "T2w": {"EchoTime": 0.095, "RepetitionTime": 4.5, "ScanningSequence": "SE"},
    "FLAIR": {
        "EchoTime": 0.12,
        "RepetitionTime": 9,
        "InversionTime": 2.5,
        "ScanningSequence": "SE_IR",
    },
    "T1w-contrast": {
        "EchoTime": 0.012,
        "RepetitionTime": 0.55,
        "ScanningSequence": "SE",
        "ContrastBolusIngredient": "GADOLINIUM",
    },
    "dixon-water": {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
}


@pytest.mark.parametrize("kind", SIDECARS)
def test_the_kind_of_a_file_follows_from_its_sidecar(tmp_path, kind):
    write_head(tmp_path / "a.nii.gz", "mri", 1)
    (tmp_path / "a.json").write_text(json.dumps(SIDECARS[kind]))

    assert kinds(found(tmp_path)) == [kind]


def test_a_phase_image_by_its_sidecar_is_left_out(tmp_path):
    for name in ("a", "b"):
        write_head(tmp_path / f"{name}.nii.gz", "mri", 1)
    (tmp_path / "a.json").write_text(json.dumps({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}))

    result = found(tmp_path)

    assert [volume.path.name for volume in result.volumes] == ["b.nii.gz"]
    assert result.skipped == {"phase-image": 1, "file that is no volume (.json)": 1}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"EchoTime": "x"}', "[" * 9999])
def test_a_sidecar_that_says_nothing_is_ignored(tmp_path, content):
    write_head(tmp_path / "a.nii.gz", "mri", 1)
    (tmp_path / "a.json").write_text(content)

    assert kinds(found(tmp_path)) == ["unknown"]


def test_kinds_of_a_bids_tree_are_not_mixed_either(tmp_path):
    write_head(tmp_path / "sub-1/anat/sub-1_T1w.nii.gz", "mri", 1)
    write_head(tmp_path / "sub-2/anat/sub-2_ce-gd_T1w.nii.gz", "mri", 2)

    with pytest.raises(UsageError, match="of 2 kinds"):
        found(tmp_path, mri=None, bids=tmp_path)
    assert kinds(found(tmp_path, mri=None, bids=tmp_path, mri_kind=("T1w",))) == ["T1w"]
