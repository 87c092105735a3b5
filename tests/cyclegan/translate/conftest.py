"""Heads in closed form on any grid, and models whose network is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.export.model_folder import ExportedModel
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec
from mrct.imaging.volume import Volume
from tests.support.models import INFO, publish_model

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
    """A real to_ct model for heads in coarse slices."""
    folder = tmp_path_factory.mktemp("model") / "model_to_ct"
    torch.manual_seed(0)
    network = Generator(filters=4, blocks=1, upsample="resize")
    return publish_model(folder, network, replace(INFO.preprocessing, spacing_mm=(15.0, 5.0, 5.0)))


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
