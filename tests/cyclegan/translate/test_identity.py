"""An identity network gives the input back to rounding, whatever grid and file it came on."""

import itertools
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from scipy.spatial.transform import Rotation

from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.engine import TranslationEngine, prepare_input
from cyclegan.translate.output_grid import on_grid
from cyclegan.translate.translate import translate_inputs
from data_prep.preprocess.preprocess import PreprocessedVolume
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.errors import ExitCode
from mrct.imaging.volume import Volume
from tests.cyclegan.translate.conftest import centred, head
from tests.support.models import publish_model
from tests.support.series import write_series

OBLIQUE = Rotation.from_euler("xyz", [7, 4, -11], degrees=True).as_matrix()


class Identity(torch.nn.Module):
    """Gives the slice back that stands in the middle of what it is shown."""

    def forward(self, image):
        return image[:, image.shape[1] // 2, None]


def linear(voxels: np.ndarray, shown: PreprocessedVolume) -> np.ndarray:
    """What an identity makes of magnitudes: the MRI's window becomes that of HU."""
    low, high = shown.window
    share = ((voxels - low) / (high - low)).clip(0, 1)
    return -1024 + 4095 * share


def returned(make_model, mri: Volume, spacing_mm, size=(32, 32), **changes):
    """The result of an identity of the input's own spacing, and what it should be."""
    model = make_model(
        changes.pop("network", Identity()),
        direction="to_ct",
        inputs=("mri",),
        preprocessing=PreprocessingSpec(spacing_mm=spacing_mm, size=size),
        **changes,
    )
    engine = TranslationEngine(model=model, air_outside=False)
    shown = prepare_input(model.info, mri)
    values = engine.values(engine.run(engine.images(shown), shown), shown)
    result = on_grid(values, shown.grid, mri.grid, engine.window)
    return result, linear(mri.voxels, shown)


def whole_head(shape, affine) -> Volume:
    """Magnitudes as a scanner gives them: whole numbers, up to some thousand."""
    mri = head("mri", shape, affine)
    return replace(mri, voxels=np.rint(2 * mri.voxels))


def turned(volume: Volume, order, signs, spacing: np.ndarray) -> Volume:
    """The same head stored along other axes."""
    voxels = volume.voxels.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    steps = np.stack([spacing[:, 2 - order[2 - i]] * signs[2 - i] for i in range(3)], axis=1)
    return replace(volume, voxels=np.ascontiguousarray(voxels), affine=centred(steps, voxels.shape))


@pytest.mark.parametrize("shape", [(15, 22, 18), (14, 21, 19)])
@pytest.mark.parametrize("directions", [np.eye(3), OBLIQUE])
def test_all_48_orientations_of_an_anisotropic_grid(make_model, shape, directions):
    spacing = directions @ np.diag([10.0, 9.0, 12.0])
    mri = whole_head(shape, centred(spacing, shape))

    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            volume = turned(mri, order, signs, spacing)
            # Slices along the body, whichever axis of the file that is.
            result, expected = returned(make_model, volume, (12.0, 9.0, 10.0))
            assert result.shape == volume.voxels.shape
            np.testing.assert_allclose(result, expected, atol=0.51)


@pytest.mark.parametrize("shape", [(1, 37, 41), (2, 36, 41), (9, 53, 31), (5, 64, 64)])
def test_one_slice_few_slices_and_odd_sizes(make_model, shape):
    mri = whole_head(shape, centred(np.diag([-6.0, -5.0, 7.0]), shape))

    result, expected = returned(make_model, mri, (7.0, 5.0, 6.0), size=(48, 40))

    np.testing.assert_allclose(result, expected, atol=0.51)


def test_neighbours_and_conditions_around_the_slice_change_nothing(make_model):
    shape = (9, 31, 33)
    mri = whole_head(shape, centred(OBLIQUE @ np.diag([8.0, 8.0, 9.0]), shape))
    options = {"neighbours": 2, "conditions": True}

    result, expected = returned(make_model, mri, (9.0, 8.0, 8.0), **options)

    np.testing.assert_allclose(result, expected, atol=0.51)


def test_slices_that_come_back_with_their_neighbours_are_averaged(make_model):
    shape = (9, 31, 33)
    mri = whole_head(shape, centred(np.diag([8.0, 8.0, 9.0]), shape))

    result, expected = returned(
        make_model, mri, (9.0, 8.0, 8.0), neighbours=1, network=lambda images: images
    )

    np.testing.assert_allclose(result, expected, atol=0.51)


@pytest.mark.parametrize(
    "orientation", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]
)
def test_dicom_in_and_out(tmp_path, monkeypatch, orientation):
    source = write_series(tmp_path / "mr", modality="MR", orientation=orientation)
    spacing = (3.0, 0.9, 0.8) if orientation[0] else (0.9, 0.8, 3.0)
    spec = PreprocessingSpec(spacing_mm=spacing, size=(40, 40))
    folder = publish_model(tmp_path / "model", torch.nn.Linear(1, 1), spec)
    monkeypatch.setattr("cyclegan.export.model_folder.open_format", lambda *args: Identity())
    out = tmp_path / "out"

    command = TranslateCommand(model=folder, inputs=(source,), out=out, outside_body="network")
    assert translate_inputs(command) == ExitCode.DONE

    (result,) = (path for path in out.iterdir() if path.is_dir())
    mrs = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    by_place = {tuple(np.round(np.float64(mr.ImagePositionPatient), 3)): mr for mr in mrs}
    pairs = []
    for path in result.iterdir():
        ct = pydicom.dcmread(path)
        mr = by_place[tuple(np.round(np.float64(ct.ImagePositionPatient), 3))]
        assert ct.PixelSpacing == mr.PixelSpacing
        pairs.append((mr.pixel_array, ct.pixel_array))
    magnitude, hu = (np.stack(each).astype(np.float64) for each in zip(*pairs, strict=True))
    inside = (hu > -1024) & (hu < 3071)
    assert inside.mean() > 0.2
    slope, offset = np.polyfit(magnitude[inside], hu[inside], 1)
    np.testing.assert_allclose(hu, (slope * magnitude + offset).clip(-1024, 3071), atol=0.6)
