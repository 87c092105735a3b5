"""Run a model on one volume: from its own grid to the model's, through the network, and back.

Axes: voxels are [z, y, x].
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclegan.contrast.table import LEAST_GAIN
from cyclegan.errors import DataError
from cyclegan.export.metadata import ModelInfo, TableInfo
from cyclegan.export.model_folder import ExportedModel
from cyclegan.export.table_model import TableModel
from cyclegan.export.training_stats import unfamiliar_properties
from cyclegan.inference.slices import Conditions, to_input, to_values, translate_volume
from cyclegan.train.engine.compile import compile_obstacle
from cyclegan.translate.command import Precision
from cyclegan.translate.output_grid import on_grid
from data_prep.preprocess.cropping import middle_of
from data_prep.preprocess.preprocess import PreprocessedVolume, preprocess
from data_prep.readers.value_checks import check_values, fill_as_air
from mrct.errors import VolumeError
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import Window
from mrct.imaging.volume import Volume

Done = Callable[[int], None]
MAX_SHIFT = 2
"""Pixels by which `uncertainty` shifts slices: what it shifts must not leave a cropped slice."""


def no_progress(count: int) -> None:
    """Do nothing: the progress callback without a listener."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationEngine:
    """A model with the options to run it."""

    model: ExportedModel
    batch_size: int = 8
    """Slices per forward pass."""
    precision: Precision = "fp32"
    air_outside: bool = True
    """Whether a CT is set to -1024 HU outside the body; otherwise the network's output is kept."""

    @property
    def info(self) -> ModelInfo:
        """Return the content of `model.json`."""
        return self.model.info

    @property
    def window(self) -> Window:
        """Return the values of the result for -1 and 1."""
        return target_window(self.model.info)

    def warnings(self, shown: PreprocessedVolume) -> list[str]:
        """Return a sentence for each property of a volume that the training data did not have."""
        return unfamiliar_properties(self.model.info.trained_on, shown)

    def images(self, shown: PreprocessedVolume) -> Float[Tensor, "Z 1 H W"]:
        """Return the network's input images for a volume."""
        info = self.model.info
        contrast = info.intensity.mri_contrast
        images = torch.empty(len(shown.voxels), 1, *shown.voxels.shape[1:])
        for z in _blocks(images):
            images[z] = to_input(
                shown.voxels[z], shown.body[z], shown.window, info.source, contrast
            )
        return images

    def run(
        self,
        images: Float[Tensor, "Z 1 H W"],
        shown: PreprocessedVolume,
        done: Done = no_progress,
        turned: Callable[[NDArray[np.bool_]], NDArray[np.bool_]] | None = None,
    ) -> Float[Tensor, "Z 1 H W"]:
        """Run images of a volume through the network; `turned` transforms the body like the
        images.

        Slices whose body fits, shifted by MAX_SHIFT too, are cropped to the size of the training
        slices, on which the network's norms depend: slices that need a larger canvas do not change
        the others.
        """
        body = turned(shown.body) if turned else shown.body
        middle = middle_of(images.shape[2:], self.model.info.preprocessing.size)
        most = zip(middle, (MAX_SHIFT if axis.start else 0 for axis in middle), strict=True)
        inner = [slice(axis.start + shift, axis.stop - shift) for axis, shift in most]
        beyond = shown.body.copy()
        beyond[:, *inner] = False
        large = torch.from_numpy(beyond.any(axis=(1, 2)))
        result = torch.full_like(images, -1.0)
        for wanted, part in ((~large, middle), (large, (slice(None), slice(None)))):
            if wanted.any():
                made = self._translated(images[..., *part], body[:, *part], shown, wanted, done)
                result[..., *part][wanted] = made[wanted]
        return result

    def _translated(
        self,
        images: Float[Tensor, "Z 1 H W"],
        body: NDArray[np.bool_],
        shown: PreprocessedVolume,
        wanted: Bool[Tensor, " Z"],
        done: Done,
    ) -> Float[Tensor, "Z 1 H W"]:
        model, conditions = self.model, None
        if model.info.conditions:
            conditions = Conditions(
                body=body,
                height=shown.height,
                spacing_yx_mm=model.info.preprocessing.spacing_mm[1:],
            )
        with self._arithmetic():
            return translate_volume(
                model.network,
                images,
                self.batch_size,
                model.device,
                neighbours=model.info.neighbours,
                conditions=conditions,
                wanted=wanted,
                done=done,
            )

    def values(self, translated: Tensor, shown: PreprocessedVolume) -> NDArray[np.float32]:
        """Return the output in HU or MRI units on the model's grid."""
        info = self.model.info
        values = np.empty(shown.voxels.shape, np.float32)
        for z in _blocks(translated):
            values[z] = to_values(
                translated[z],
                shown.body[z],
                self.window,
                info.target,
                info.intensity.mri_contrast,
                air_outside=self.air_outside,
            )
        return values

    def _arithmetic(self) -> AbstractContextManager[None]:
        kind = torch.device(self.model.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEngine:
    """A contrast table in place of a network."""

    model: TableModel
    precision: Precision = "fp32"
    air_outside: bool = True

    @property
    def info(self) -> TableInfo:
        """Return the content of `model.json`."""
        return self.model.info

    @property
    def window(self) -> Window:
        """Return the range of the results in HU."""
        return WINDOW_HU

    def warnings(self, shown: PreprocessedVolume) -> list[str]:
        """Return a sentence for each property of a volume that the training data did not have, and
        one if it is unlikely at its positions.

        Raises:
            VolumeError: Half of the body is background.
        """
        found = unfamiliar_properties(self.info.trained_on, shown)
        table = self.model.kept.table
        with _refused():
            gain = table.gain_nats(shown.voxels, shown.body, shown.height)
        least = table.findings.get(LEAST_GAIN, 0.0)
        if gain < least:
            found.append(
                f"The MRI is unlikely at its positions: {gain:.3f} nats a voxel above a histogram "
                f"without them, usually at least {least:.3f}. Another contrast, field of view or "
                "part of the body, or a wrong outline."
            )
        return found

    def values(self, shown: PreprocessedVolume) -> NDArray[np.float32]:
        """Return the synthetic CT in HU on the model's grid.

        Raises:
            VolumeError: Half of the body is background.
        """
        with _refused():
            return self.model.kept.table.synthetic_ct(shown.voxels, shown.body, shown.height)


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what a table cannot use into the refusal of its volume."""
    try:
        yield
    except DataError as error:
        reason, remedy = str(error).split(". ", 1)
        raise VolumeError("body-of-background", f"{reason}.", remedy) from error


def _blocks(images: Tensor) -> list[slice]:
    """Return ranges of slices, since arithmetic on a whole large volume would need too much
    memory."""
    return [slice(start, start + 16) for start in range(0, len(images), 16)]


def translate(volume: Volume, model: ExportedModel, *, batch_size: int = 8) -> NDArray[np.int16]:
    """Translate a volume; the result has the shape and affine of the input.

    A CT is in HU within [-1024, 3071], -1024 outside the body; an MRI in the arbitrary units of
    `Intensity.mri_output_window`, 0 outside the body. Whole slices go through the network,
    `batch_size` at a time.

    Args:
        volume: An MRI or CT of any spacing and orientation, voxels [z, y, x] in the file's units.
        model: An exported model; see `cyclegan.export.model_folder.read_model`.
        batch_size: Slices per forward pass; affects only memory and speed.

    Returns:
        int16 voxels [z, y, x] on the grid of `volume`.

    Raises:
        VolumeError: The values are not valid for the model, or show no body.
    """
    # No reader has: it comes from memory.
    volume = replace(volume, voxels=fill_as_air(volume.voxels, model.info.source))
    check_values(volume.voxels, model.info.source)
    engine = TranslationEngine(model=model, batch_size=batch_size)
    shown = prepare_input(model.info, volume)
    values = engine.values(engine.run(engine.images(shown), shown), shown)
    return on_grid(values, shown.grid, shown.source, engine.window)


def prepare_input(info: ModelInfo | TableInfo, volume: Volume) -> PreprocessedVolume:
    """Preprocess a volume as in training, but with enough rows and columns for its whole body.

    The size is that of training, or larger if that would crop the body. It is laid on the model's
    axis of heights by what the size of training holds, as the training volumes were.

    Raises:
        VolumeError: The volume shows no body.
    """
    spec = info.preprocessing
    while True:
        shown = preprocess(volume, spec)
        if shown.cut is None or shown.cut.needed_size == spec.size:
            return replace(shown, axis=info.height_axis, placed_by=info.preprocessing.size)
        spec = replace(spec, size=shown.cut.needed_size)


def target_window(info: ModelInfo) -> Window:
    """Return the values of the result for -1 and 1."""
    return WINDOW_HU if info.target == "ct" else info.intensity.mri_output_window


class CompiledNetwork:
    """A compiled network; the first batch of every slice size takes half a minute to compile.

    An incomplete batch is padded with copies of its last slice, whose outputs are dropped.
    """

    def __init__(self, network: nn.Module, batch_size: int) -> None:
        self._network = torch.compile(network, dynamic=False)
        self._batch_size = batch_size

    def __call__(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """Translate slices."""
        count = len(images)
        if 0 < count < self._batch_size:
            copies = images[-1:].expand(self._batch_size - count, *images.shape[1:])
            images = torch.cat([images, copies])
        translated: Tensor = self._network(images)[:count]
        return translated


def obstacle_to_compiling(device: str) -> str:
    """Return why networks cannot be compiled here, or an empty string."""
    found = compile_obstacle(torch.device(device))
    if not found:
        # A slice size that fails to compile, or exceeds the limit of sizes, runs eagerly.
        torch._dynamo.config.suppress_errors = True
    return found
