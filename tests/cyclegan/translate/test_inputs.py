"""Whatever a volume came as, it is found, read by data_prep's readers, and translated alike."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from pydicom.dataset import Dataset

from cyclegan.export.formats import write_formats
from cyclegan.export.model_folder import read_model
from cyclegan.inference.cycle import CycleNetworks
from cyclegan.nets.generator import Generator
from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.inputs import find_inputs
from cyclegan.translate.translate import translate_inputs
from data_prep.convert.convert import convert
from data_prep.convert.settings import ConvertSettings
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.tolerances import Leniency
from data_prep.store.store import open_store
from mrct.errors import ExitCode, UsageError
from mrct.imaging.geometry import resample
from mrct.imaging.volume import Grid, Volume
from tests.support.models import publish_model
from tests.support.series import setting, write_enhanced, write_series
from tests.support.stores import make_store
from tests.support.volumes import write_head

SPEC = PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(64, 64))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    network = Generator(filters=4, blocks=1, upsample="resize")
    return publish_model(tmp_path_factory.mktemp("model") / "model_to_ct", network, SPEC)


def made(command: TranslateCommand) -> dict[str, nibabel.Nifti1Image]:
    """Every NIfTI result by its name."""
    assert translate_inputs(command) == ExitCode.DONE
    return {path.name: nibabel.load(path) for path in sorted(command.out.glob("*_synthetic-*.gz"))}


def as_itk(path: Path, source: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.ReadImage(source), path, useCompression=True)
    return path


def test_a_wrong_path_is_wrong_use_and_nothing_is_quarantined(tmp_path, model):
    head = write_head(tmp_path / "a.nii.gz", "mri")
    wrong = TranslateCommand(
        model=model, inputs=(head, tmp_path / "b.nii.gz"), out=tmp_path / "out"
    )

    with pytest.raises(UsageError, match=r"There is no \S*/b\.nii\.gz\."):
        translate_inputs(wrong)

    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_nifti_mha_and_nrrd_of_one_head_give_one_ct(tmp_path, model):
    folder = tmp_path / "in"
    nifti = write_head(folder / "a.nii.gz", "mri")
    as_itk(folder / "b.mha", nifti)
    as_itk(folder / "c.nrrd", nifti)

    results = made(
        TranslateCommand(model=model, inputs=(folder,), out=tmp_path / "out", keep_names=True)
    )

    a, b, c = (results[f"{name}_synthetic-ct.nii.gz"] for name in "abc")
    assert a.shape == nibabel.load(nifti).shape
    assert np.asarray(a.dataobj).max() > -700
    for other in (b, c):
        np.testing.assert_allclose(other.affine, a.affine, atol=1e-4)
        np.testing.assert_allclose(np.asarray(other.dataobj), np.asarray(a.dataobj), atol=1)


def test_a_folder_of_all_kinds_is_found_and_what_is_no_mri_is_counted(tmp_path, capsys, tiny_model):
    study = tmp_path / "study"
    write_series(study / "mr", modality="MR")
    write_series(study / "ct")
    write_series(study / "gap", setting(SeriesInstanceUID="1.2.7"), modality="MR", without=[4])
    write_head(study / "deep" / "down" / "a.nii.gz", "mri")
    (study / "notes.txt").write_text("nothing")
    out = study / "out"

    assert (
        translate_inputs(TranslateCommand(model=tiny_model, inputs=(study,), out=out))
        == ExitCode.PARTLY_DONE
    )
    assert (
        translate_inputs(TranslateCommand(model=tiny_model, inputs=(study,), out=out))
        == ExitCode.PARTLY_DONE
    )

    printed = capsys.readouterr()
    assert "0 translated, 2 already there, 1 refused" in printed.out
    assert "other-modality" in printed.err
    assert "slice-missing" in printed.err
    lines = [json.loads(line) for line in (out / "translations.jsonl").read_text().splitlines()]
    kinds = [(out / line["result"]).is_dir() for line in lines]
    assert sorted(kinds) == [False, True]
    assert all(line["result"].startswith(line["sha256"][:12]) for line in lines)
    table = (study / "out.id-map.csv").read_text().splitlines()
    assert len(table) == 3
    assert (study / "out.id-map.csv").stat().st_mode & 0o777 == 0o600


def test_one_file_of_dicom_stands_for_its_series(tmp_path):
    folder = write_series(tmp_path / "mr", modality="MR")

    for path in (folder / "003.dcm", folder):
        found = find_inputs([path, path], tmp_path / "out", "mri", "test", SPEC, Leniency())
        (item,) = found.inputs
        assert len(item.series.headers) == 8


def test_names_that_are_taken_twice_are_told_apart(tmp_path, model):
    first = write_head(tmp_path / "1" / "scan.nii.gz", "mri")
    second = write_head(tmp_path / "2" / "scan.nii.gz", "mri", seed=1)

    command = TranslateCommand(
        model=model, inputs=(first, second), out=tmp_path / "out", keep_names=True
    )

    names = list(made(command))
    assert len(names) == 2
    assert all(name.startswith("scan-") for name in names)


def test_each_stack_of_one_enhanced_file_is_an_input_with_a_name_of_its_own(tmp_path):
    def two_stacks(dataset: Dataset) -> None:
        """Four frames stay axial, the others become coronal."""
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            content, turned, place = Dataset(), Dataset(), frame.PlanePositionSequence[0]
            above = float(place.ImagePositionPatient[2]) + 78
            content.StackID = "2" if above >= 0 else "1"
            turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            if above >= 0:
                turned.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
                place.ImagePositionPatient = [-8, 10 + above, -40]
            frame.FrameContentSequence, frame.PlaneOrientationSequence = [content], [turned]

    file = write_enhanced(tmp_path / "in/enhanced.dcm", two_stacks)
    network = Generator(filters=4, blocks=1, upsample="resize")
    spec = PreprocessingSpec(spacing_mm=(2.0, 1.0, 1.0), size=(40, 40))
    model = publish_model(
        tmp_path / "model_to_mri", network, spec, direction="to_mri", inputs=("ct",)
    )

    found = find_inputs([file, file.parent], tmp_path / "out", "ct", "test", spec, Leniency())
    assert [len(each.series.headers) for each in found.inputs] == [4, 4]
    results = made(
        TranslateCommand(model=model, inputs=(file,), out=tmp_path / "out", format="nifti")
    )

    assert len(results) == 2
    assert len({image.affine[2, 3] for image in results.values()}) == 2


def test_a_ct_is_not_taken_for_an_mri(tmp_path):
    folder = write_series(tmp_path / "ct")

    with pytest.raises(UsageError, match="1 x DICOM: other-modality"):
        find_inputs([folder], tmp_path / "out", "mri", "test", SPEC, Leniency())


def test_a_store_is_translated_as_evaluate_does_it_and_so_is_its_file(tmp_path, model):
    """One code path: the synthetic CT of `evaluate` is that of `translate_inputs`, bit for bit."""
    mri = write_head(tmp_path / "mri" / "a.nii.gz", "mri")
    write_head(tmp_path / "ct" / "b.nii.gz", "ct")
    settings = ConvertSettings(
        out=tmp_path / "s.zarr",
        mri=tmp_path / "mri",
        ct=tmp_path / "ct",
        spacing_mm=SPEC.spacing_mm,
        size=SPEC.size,
        workers=0,
    )
    convert(settings)
    store = open_store(tmp_path / "s.zarr")
    (volume,) = (volume for volume in store.volumes if volume.modality == "mri")
    network = read_model(model).network
    both = CycleNetworks(to_ct=network, to_mri=network, contrast="plain")
    _, evaluated = both.translated(store.voxels(volume), store.body(volume), volume)

    stored_input = TranslateCommand(
        model=model, inputs=(tmp_path / "s.zarr",), out=tmp_path / "stored", split=volume.split
    )
    (stored,) = made(stored_input).values()
    (own,) = made(TranslateCommand(model=model, inputs=(mri,), out=tmp_path / "own")).values()

    np.testing.assert_array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), np.rint(evaluated))
    np.testing.assert_allclose(stored.affine, volume.affine, atol=1e-4)
    ct = Volume(voxels=evaluated, affine=volume.affine, modality="ct", pseudonym="p")
    grid = Grid(shape=volume.source_shape, affine=volume.source_affine)
    expected = resample(ct, grid, fill=-1024).voxels
    np.testing.assert_array_equal(np.asarray(own.dataobj).transpose(2, 1, 0), np.rint(expected))


def test_a_store_of_other_voxels_is_refused(tmp_path, model):
    make_store(tmp_path / "s.zarr", mri=1, ct=0, splits=("test",))

    with pytest.raises(UsageError, match="with the same settings"):
        translate_inputs(
            TranslateCommand(model=model, inputs=(tmp_path / "s.zarr",), out=tmp_path / "out")
        )


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    """A folder of both directions."""
    folder = tmp_path_factory.mktemp("both") / "model_both"
    folder.mkdir()
    torch.manual_seed(2)
    for way, source in (("to_ct", "mri"), ("to_mri", "ct")):
        network = Generator(filters=4, blocks=1, upsample="resize").eval()
        publish_model(
            folder / way,
            network,
            SPEC,
            direction=way,
            inputs=(source,),
        )
    return folder


@pytest.mark.slow
def test_a_folder_of_both_directions_goes_either_way(tmp_path, both):
    ct = write_head(tmp_path / "ct.nii.gz", "ct")
    mri = write_head(tmp_path / "mri.nii.gz", "mri")
    command = TranslateCommand(model=both, inputs=(mri,), out=tmp_path / "cts", keep_names=True)

    assert list(made(command)) == ["mri_synthetic-ct.nii.gz"]
    back = replace(command, inputs=(ct,), out=tmp_path / "mris", direction="ct-to-mri")
    (image,) = made(back).values()
    values = np.asarray(image.dataobj)
    assert 0 <= values.min() < values.max() <= 1000
    with pytest.raises(UsageError, match="CT series"):
        translate_inputs(replace(back, format="dicom"))
    with pytest.raises(UsageError, match="to_ct model"):
        translate_inputs(replace(back, model=both / "to_ct"))


@pytest.mark.slow
def test_both_engines_give_the_same_hu_and_bf16_nearly_so(tmp_path):
    mri = write_head(tmp_path / "mri.nii.gz", "mri")
    torch.manual_seed(2)
    network = Generator(filters=4, blocks=1, upsample="resize").eval()
    model = publish_model(
        tmp_path / "model_to_ct", network, SPEC, files=lambda part: write_formats(network, 1, part)
    )
    command = TranslateCommand(model=model, inputs=(mri,), out=tmp_path / "torch")

    by_torch, by_onnx, by_bf16 = (
        np.asarray(next(iter(made(replace(command, **options)).values())).dataobj, np.float64)
        for options in (
            {},
            {"out": tmp_path / "onnx", "engine": "onnxruntime"},
            {"out": tmp_path / "bf16", "precision": "bf16"},
        )
    )

    assert np.abs(by_torch - by_onnx).max() <= 1
    assert 0 < np.abs(by_torch - by_bf16).mean() < 20
    with pytest.raises(UsageError, match="fp32"):
        translate_inputs(replace(command, engine="onnxruntime", precision="bf16"))


def test_an_uncertainty_map_and_a_picture_come_with_the_result(tmp_path, both):
    mri = write_head(tmp_path / "jane.nii.gz", "mri")
    out = tmp_path / "out"
    options = {"uncertainty": True, "preview": True}

    (ct,) = made(TranslateCommand(model=both, inputs=(mri,), out=out, **options)).values()

    (path,) = out.glob("*_uncertainty.nii.gz")
    unsure = np.asarray(nibabel.load(path).dataobj)
    assert unsure.shape == ct.shape
    inside = np.asarray(ct.dataobj) > -900
    assert unsure[inside].mean() > 1
    assert unsure[~inside].mean() < unsure[inside].mean() / 2
    (picture,) = out.glob("*_preview.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert b"jane" not in picture.read_bytes()
    picture.unlink()
    assert translate_inputs(TranslateCommand(model=both, inputs=(mri,), out=out)) == ExitCode.DONE
    assert not picture.exists()


def test_a_file_that_is_no_id_map_stops_before_the_first_scan(tmp_path, tiny_model):
    head = write_head(tmp_path / "a.nii.gz", "mri")
    other = tmp_path / "out.id-map.csv"
    other.write_text("notes of mine\n")

    with pytest.raises(UsageError, match="is not an id map"):
        translate_inputs(TranslateCommand(model=tiny_model, inputs=(head,), out=tmp_path / "out"))

    assert other.read_text() == "notes of mine\n"
    assert list((tmp_path / "out").iterdir()) == []
