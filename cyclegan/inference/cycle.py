"""Cycle of a stored volume: MRI -> CT -> MRI, or CT -> MRI -> CT.

Both validation during training and evaluation use it. Axes: Z slices, H rows, W columns.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cyclegan.config.data import DataConfig
from cyclegan.inference.slices import (
    Conditions,
    Contrast,
    Network,
    to_input,
    to_values,
    translate_volume,
)
from cyclegan.nets.guided_generator import GuidedGenerator
from data_prep.preprocess.height_axis import HeightAxis
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.geometry import covered_voxels
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import Window, normalise
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Grid, spacing_of

GENERATOR = "CycleGAN"
"""The name of the trained networks in scores, beside the baselines."""
UNIT_WINDOW: Window = (0.0, 1.0)
"""Window of a synthetic MRI, which has no unit: 0 is air and 1 the upper end of an MRI's window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleNetworks:
    """Both networks, on one device, and the inputs that they expect; any callables."""

    to_ct: Network
    to_mri: Network | None
    """None for a single direction, as in an exported model; then only MRIs can be translated."""
    contrast: Contrast
    device: torch.device | str = "cpu"
    batch_size: int = 8
    neighbours: int = 0
    """Neighbouring slices on each side in an input."""
    conditions: bool = False
    """Whether inputs include the depth below the body's surface and the slice's height."""
    axis: HeightAxis | None = None
    """Axis of the heights that the networks know; None for that of the store."""

    @classmethod
    def trained(
        cls,
        generators: tuple[Network, Network],
        data: DataConfig,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
    ) -> "CycleNetworks":
        """Wrap generators (to CT, to MRI) with the inputs of their training."""
        to_ct, to_mri = generators
        return cls(
            to_ct=to_ct,
            to_mri=to_mri,
            contrast=data.mri_contrast,
            device=device,
            batch_size=batch_size,
            neighbours=data.neighbours,
            conditions=data.conditions,
        )

    @property
    def look_up(self) -> "CycleNetworks | None":
        """A guided generator to CT without its correction, alone; None for others."""
        if not isinstance(self.to_ct, GuidedGenerator):
            return None
        return replace(self, to_ct=self.to_ct.look_up, to_mri=None)

    def cycle(self, store: Store, volume: StoredVolume) -> "CycleResult":
        """Translate a stored volume and translate it back, as in training.

        Raises:
            StoreError: The volume differs from its commit record.
        """
        voxels, body = store.voxels(volume), store.body(volume)
        forth, translated = self.translated(voxels, body, volume)
        returned = None
        if back := self.to_mri if volume.modality == "mri" else self.to_ct:
            images = self._translate(back, forth, body, volume)
            home = to_values(images, body, volume.window, volume.modality, self.contrast)
            returned = mask_outside(normalise(home, volume.window), body)
        return CycleResult(
            volume=volume,
            body=body.astype(bool),
            original=mask_outside(normalise(voxels.astype(np.float32), volume.window), body),
            translated=translated,
            returned=returned,
        )

    def translated(
        self, voxels: NDArray[np.int16], body: NDArray[np.uint8], volume: StoredVolume
    ) -> tuple[Float[Tensor, "Z 1 H W"], NDArray[np.float32]]:
        """Translate a stored volume to the other modality.

        Args:
            voxels: Stored values [z, y, x].
            body: Body mask [z, y, x], 0 or 1.
            volume: The volume's record, with modality and window.

        Returns:
            The result as network images in [-1, 1], and as values [z, y, x]: HU for a CT, 0 to 1
            for an MRI.
        """
        there: Modality = "ct" if volume.modality == "mri" else "mri"
        network = self.to_ct if there == "ct" else self.to_mri
        assert network is not None, "a model without a way back makes no MRI"
        images = to_input(voxels, body, volume.window, volume.modality, self.contrast)
        translated = self._translate(network, images, body, volume)
        window = WINDOW_HU if there == "ct" else UNIT_WINDOW
        return translated, to_values(translated, body, window, there, self.contrast)

    def _translate(
        self, network: Network, images: Tensor, body: NDArray[np.uint8], volume: StoredVolume
    ) -> Tensor:
        # The source's conditions, also for the translation back.
        seen = conditions_of(volume, body, self.axis) if self.conditions else None
        return translate_volume(
            network,
            images,
            self.batch_size,
            self.device,
            neighbours=self.neighbours,
            conditions=seen,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CycleResult:
    """Cycle of one volume; all arrays are [z, y, x].

    `original` and `returned` are in [-1, 1] of the volume's window, never in inverted contrast, so
    that runs of either contrast are comparable; both are -1 outside the body.
    """

    volume: StoredVolume
    body: NDArray[np.bool_]
    original: NDArray[np.float32]
    translated: NDArray[np.float32]
    """Translated volume: HU if the volume is an MRI, 0 to 1 if it is a CT."""
    returned: NDArray[np.float32] | None
    """Volume after the cycle; None for a single direction."""

    def compared(self) -> tuple[Tensor, Tensor]:
        """Return the original and the returned slices that contain body, [Z, 1, H, W].

        Slices of air alone would agree trivially.
        """
        assert self.returned is not None, "nothing came back to compare with"
        shown = self.body.any(axis=(1, 2))
        original, returned = (
            torch.from_numpy(images[shown][:, None]) for images in (self.original, self.returned)
        )
        return original, returned


def conditions_of(
    volume: StoredVolume, body: NDArray[Any], axis: HeightAxis | None = None
) -> Conditions:
    """Return the condition inputs of a stored volume with this body mask [z, y, x].

    Its heights are those on the store's axis, or on another one if it is given.
    """
    _, dy, dx = spacing_of(volume.affine)
    volume = volume.on(axis) if axis else volume
    return Conditions(body=body, height=volume.height, spacing_yx_mm=(dy, dx))


def mask_outside(images: NDArray[np.float32], body: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Set the images to -1, which is air, outside the body."""
    return np.where(body, images, np.float32(-1))


def partner_ct(
    store: Store, mri: StoredVolume
) -> tuple[NDArray[np.int16], NDArray[np.bool_]] | None:
    """Return the CT linked to an MRI, in HU [z, y, x], and the mask for comparison; None without.

    The mask is the one given with the CT, else the CT's own body, so that a wrong outline counts as
    an error, restricted to the MRI's field of view, outside of which nothing can be translated.
    """
    ct = store.partner(mri)
    if ct is None:
        return None
    return store.voxels(ct), store.score_mask(ct).astype(bool) & field_of_view(mri)


def field_of_view(volume: StoredVolume) -> NDArray[np.bool_]:
    """Return which stored voxels [z, y, x] have their centre inside the source scan."""
    source = Grid(shape=volume.source_shape, affine=volume.source_affine)
    return covered_voxels(source, Grid(shape=volume.shape, affine=volume.affine))
