"""Heads in closed form on any grid, and models whose network is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES
from cyclegan.export.metadata import Intensity, ModelInfo, write_info
from cyclegan.export.model_folder import CONTENT, ExportedModel, publish_folder
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.imaging.volume import Volume

INFO = ModelInfo(
    direction="to_mri",
    inputs=("ct",),
    intensity=Intensity(mri_contrast="plain"),
    preprocessing=PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 56)),
    generator=GeneratorConfig(filters=4, blocks=1),
    run="smoke",
    config_hash="c" * 64,
    checkpoint="step_00000006",
    store_fingerprint="f" * 16,
    store_contents="c" * 16,
)
RADII_MM = np.array([70.0, 90.0, 80.0])


def head(modality: str, shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """An ellipsoid around the origin with a slow pattern inside: 40 +- 300 HU, or 600 +- 300."""
    z, y, x = np.indices(shape)
    points = np.stack([x, y, z, np.ones(shape)], axis=-1) @ affine.T  # RAS mm
    depth = np.linalg.norm(points[..., :3] / RADII_MM, axis=-1)
    pattern = 300 * np.sin(points[..., 0] / 25) * np.cos(points[..., 1] / 30 + points[..., 2] / 40)
    inside = (40 if modality == "ct" else 600) + pattern
    # A soft border, as a scanner would blur it.
    weight = 1 / (1 + np.exp((depth - 1) * 40))
    voxels = weight * inside + (1 - weight) * (-1000 if modality == "ct" else 0)
    return Volume(
        voxels=voxels.astype(np.float32), affine=affine, modality=modality, pseudonym="head"
    )


def centred(directions_mm: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The affine with these columns (x, y, z steps in RAS mm) whose middle voxel is the origin."""
    affine = np.eye(4)
    affine[:3, :3] = directions_mm
    affine[:3, 3] = -directions_mm @ ((np.array(shape)[::-1] - 1) / 2)
    return affine


@pytest.fixture
def make_model() -> Callable[..., ExportedModel]:
    """A model whose network returns its input, unless another one is given."""

    def make(network=lambda image: image, **changes) -> ExportedModel:
        return ExportedModel(info=replace(INFO, **changes), network=network)

    return make


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A real to_ct model; of its formats only the one that translate uses by default is real."""
    folder = tmp_path_factory.mktemp("model") / "model_to_ct"
    torch.manual_seed(0)
    network = Generator(filters=4, blocks=1, upsample="resize")

    def fill(partial: Path) -> None:
        for name in CONTENT:
            (partial / name).write_text("not needed")
        save_file(network.state_dict(), partial / FILES["safetensors"])
        write_info(
            replace(
                INFO,
                direction="to_ct",
                inputs=("mri",),
                preprocessing=replace(INFO.preprocessing, spacing_mm=(15.0, 5.0, 5.0)),
            ),
            partial,
        )

    publish_folder(folder, fill)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A real to_ct model for heads of 30 mm, such as `tests.support.series` writes."""
    folder = tmp_path_factory.mktemp("tiny") / "model_to_ct"
    torch.manual_seed(0)
    return publish_model(
        folder,
        Generator(filters=4, blocks=1, upsample="resize"),
        PreprocessingSpec(spacing_mm=(2.0, 1.0, 1.0), size=(40, 40)),
    )


def publish_model(
    folder: Path,
    network: torch.nn.Module,
    spec: PreprocessingSpec,
    *,
    files=lambda part: None,
    **changes,
) -> Path:
    """A to_ct model folder of which the one file is real that translate uses by default.

    And those that `files` writes.
    """

    def fill(partial: Path) -> None:
        for name in CONTENT:
            (partial / name).write_text("not needed")
        save_file(network.state_dict(), partial / FILES["safetensors"])
        files(partial)
        info = replace(INFO, direction="to_ct", inputs=("mri",), preprocessing=spec)
        write_info(replace(info, **changes), partial)

    publish_folder(folder, fill)
    return folder
