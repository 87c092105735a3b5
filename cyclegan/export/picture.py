"""The picture of a model card: one held-out slice, beside what the model makes of it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cyclegan.data.reader import SliceRef
from cyclegan.export.metadata import MRI_OUTPUT_WINDOW, ModelInfo
from cyclegan.export.model_card import CardPicture
from cyclegan.export.parity import model_inputs
from cyclegan.inference.slices import Network, to_values, translate_volume
from cyclegan.train.validation.figure import shown_slice
from data_prep.datasets.split import Split
from data_prep.dicom.image_kind import PHANTOM
from data_prep.store.store import Store
from data_prep.store.stored_volume import StoredVolume
from mrct.drawing.slices import CT_BONE, ImagePanel, Windowing, grid, png
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.modality import Modality

Make = Callable[[StoredVolume, int], NDArray[np.float32]]
"""Returns the synthetic slice of a volume at an index, [rows, columns] in HU or MRI units."""
_HELD_OUT: tuple[Split, ...] = ("val", "test")
_CARD_CT = CT_BONE._replace(unit="HU, bone window; right at the left")
_CARD_MRI = Windowing("gray", 0.0, 1.0, "MRI, of its window; for research only")


def example_picture(
    store: Store, source: Modality, make: Make, *, people: bool
) -> CardPicture | None:
    """Return the picture, without any text of a patient.

    None if no volume is held out, or if it shows a person and `people` may not be shown.
    """
    held_out = (store.select(source, split).linked_first() for split in _HELD_OUT)
    volume = next((volumes[0] for volumes in held_out if len(volumes)), None)
    if volume is None or not (people or volume.kind == PHANTOM):
        return None
    partner = store.volumes.named(volume.link) if volume.link else None
    z = shown_slice(volume)
    images = [(source, "", store.voxels(volume)[z], volume.window)]
    target: Modality = "ct" if source == "mri" else "mri"
    images.append((target, "synthetic ", make(volume, z), MRI_OUTPUT_WINDOW))
    if partner and (people or partner.kind == PHANTOM):
        images.append((target, "real ", store.voxels(partner)[z], partner.window))
    _, dy, dx = store.spacing_mm
    row = [
        ImagePanel(
            title=f"{prefix}{modality.upper()}",
            values=values if modality == "ct" else (values - low) / (high - low),
            windowing=_CARD_CT if modality == "ct" else _CARD_MRI,
            pixel_mm=(dy, dx),
        )
        for modality, prefix, values, (low, high) in images
    ]
    return CardPicture(
        content=png(grid([("", row)], (_CARD_MRI, _CARD_CT), tile_inches=2.4)),
        titles=tuple(panel.title for panel in row),
        is_phantom=volume.kind == PHANTOM,
    )


def slice_by_network(network: Network, store: Store, info: ModelInfo) -> Make:
    """Return what makes a slice as `translate` does, from the exported description."""
    window = WINDOW_HU if info.target == "ct" else info.intensity.mri_output_window

    def make(volume: StoredVolume, z: int) -> NDArray[np.float32]:
        images = model_inputs(store, [SliceRef(volume, z)], info)
        made = translate_volume(network, images, 1)
        body = store.body(volume)[z : z + 1]
        (values,) = to_values(made, body, window, info.target, info.intensity.mri_contrast)
        return np.asarray(values)

    return make
