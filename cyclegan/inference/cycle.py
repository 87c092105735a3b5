"""A stored volume there and back: MRI -> CT -> MRI, or CT -> MRI -> CT.

Validation during training and the evaluation afterwards both see volumes through this, and only so.
Axes: Z slices, H rows, W columns.
"""

from dataclasses import dataclass

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
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.geometry import reached
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import Window, normalise
from mrct.imaging.volume import Grid, Modality

UNIT_WINDOW: Window = (0.0, 1.0)
"""A synthetic MRI has no unit: 0 is air and 1 the bright end of an MRI's window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BothWays:
    """Both networks, on one device, and how they want to see an MRI. Any callables will do."""

    to_ct: Network
    to_mri: Network | None
    """None where there is no way back, as in an exported model: then MRIs alone are translated."""
    contrast: Contrast
    device: torch.device | str = "cpu"
    batch_size: int = 8
    neighbours: int = 0
    """Slices above and below each one that the networks see too."""
    conditions: bool = False
    """Whether the networks see the depth below the body's surface and the slice's height."""

    @classmethod
    def trained(
        cls,
        translators: tuple[Network, Network],
        data: DataConfig,
        device: torch.device | str = "cpu",
        batch_size: int = 8,
    ) -> "BothWays":
        """Translators (to CT, to MRI), seeing what they saw in training."""
        to_ct, to_mri = translators
        return cls(
            to_ct=to_ct,
            to_mri=to_mri,
            contrast=data.mri_contrast,
            device=device,
            batch_size=batch_size,
            neighbours=data.neighbours,
            conditions=data.conditions,
        )

    def cycle(self, store: Store, volume: StoredVolume) -> "Cycle":
        """Translate a stored volume and translate it back, as the training's cycle does.

        Raises:
            StoreError: The volume is not what was committed.
        """
        voxels, body = store.voxels(volume), store.body(volume)
        forth, translated = self.translated(voxels, body, volume)
        returned = None
        if back := self.to_mri if volume.modality == "mri" else self.to_ct:
            images = self._translate(back, forth, body, volume)
            home = to_values(images, body, volume.window, volume.modality, self.contrast)
            returned = inside(normalise(home, volume.window), body)
        return Cycle(
            volume=volume,
            body=body.astype(bool),
            original=inside(normalise(voxels.astype(np.float32), volume.window), body),
            translated=translated,
            returned=returned,
        )

    def translated(
        self, voxels: NDArray[np.int16], body: NDArray[np.uint8], volume: StoredVolume
    ) -> tuple[Float[Tensor, "Z 1 H W"], NDArray[np.float32]]:
        """A stored volume in the other modality: as network images, and as values [z, y, x]."""
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
        # Of the source, on the way back too.
        seen = Conditions(body=body, height=volume.height) if self.conditions else None
        return translate_volume(
            network,
            images,
            self.batch_size,
            self.device,
            neighbours=self.neighbours,
            conditions=seen,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cycle:
    """What became of one volume; all arrays [z, y, x].

    `original` and `returned` are in [-1, 1] of the volume's window, never in inverted contrast, so
    that runs of either contrast compare; both are -1 outside the body.
    """

    volume: StoredVolume
    body: NDArray[np.bool_]
    original: NDArray[np.float32]
    translated: NDArray[np.float32]
    """HU where the volume is an MRI, 0 to 1 where it is a CT."""
    returned: NDArray[np.float32] | None
    """None without a way back."""

    def compared(self) -> tuple[Tensor, Tensor]:
        """The original and the returned slices that show any body, [Z, 1, H, W].

        Slices of air alone would agree perfectly and say nothing.
        """
        assert self.returned is not None, "nothing came back to compare with"
        shown = self.body.any(axis=(1, 2))
        original, returned = (
            torch.from_numpy(images[shown][:, None]) for images in (self.original, self.returned)
        )
        return original, returned


def inside(images: NDArray[np.float32], body: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The images with air, -1, outside the body."""
    return np.where(body, images, np.float32(-1))


def linked_ct(
    store: Store, mri: StoredVolume
) -> tuple[NDArray[np.int16], NDArray[np.bool_]] | None:
    """HU [z, y, x] of the linked CT and the mask to compare over; None where there is no such CT.

    The mask is the CT's own body, so that a wrong outline counts as an error, within the MRI's
    field of view: where nothing was scanned nothing can be translated.
    """
    ct = store.partner(mri)
    if ct is None:
        return None
    return store.voxels(ct), store.body(ct).astype(bool) & field_of_view(mri)


def field_of_view(volume: StoredVolume) -> NDArray[np.bool_]:
    """Which stored voxels [z, y, x] have their centre inside the volume's own file."""
    source = Grid(shape=volume.source_shape, affine=volume.source_affine)
    return reached(source, Grid(shape=volume.shape, affine=volume.affine))
