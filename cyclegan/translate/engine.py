"""One volume through a model: from its own grid to the model's, through the network, and back.

It knows neither files nor folders. Axes: voxels are [z, y, x].
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cyclegan.export.model import Model, ModelInfo
from cyclegan.infer.slices import to_input, to_values, translate_volume
from data_prep.errors import VolumeError
from data_prep.geometry import resample
from data_prep.harmonise import HarmonisedVolume, harmonise
from data_prep.intensity import WINDOW_HU, Window
from data_prep.volume import Volume

CT_AIR_BELOW = -300.0
"""Only CT has more than a hundredth of its voxels below this: air."""


def translate(volume: Volume, model: Model, *, batch_size: int = 8) -> NDArray[np.int16]:
    """The synthetic volume on the input's own grid: same shape, same affine.

    A CT is in HU within [-1024, 3071], -1024 outside the body; an MRI in the arbitrary units of
    `Intensity.mri_output_window`, 0 outside the body. Whole slices go through the network,
    `batch_size` at a time.

    Raises:
        VolumeError: The input is not what the model takes, or shows no body.
    """
    info = model.info
    _check_modality(volume, info)
    shown = harmonise_whole(volume, info)
    contrast = info.intensity.mri_contrast
    images = to_input(shown.voxels, shown.body, shown.window, info.source, contrast)
    translated = translate_volume(model.network, images, batch_size, model.device)
    low, high = window = target_window(info)
    made = Volume(
        voxels=to_values(translated, shown.body, window, info.target, contrast),
        affine=shown.affine,
        modality=info.target,
        pseudonym=volume.pseudonym,
    )
    own = resample(made, volume.grid, fill=low).voxels
    return np.rint(own).clip(low, high).astype(np.int16)


def harmonise_whole(volume: Volume, info: ModelInfo) -> HarmonisedVolume:
    """The volume as in training, but on rows and columns enough for its whole body.

    The training size, or where that would cut the body, what it needs.
    """
    recipe = info.recipe
    while True:
        shown = harmonise(volume, recipe)
        if shown.cut is None or shown.cut.needed_size == recipe.size:
            return shown
        recipe = replace(recipe, size=shown.cut.needed_size)


def target_window(info: ModelInfo) -> Window:
    """What -1 and 1 mean in the result."""
    return WINDOW_HU if info.target == "ct" else info.intensity.mri_output_window


def _check_modality(volume: Volume, info: ModelInfo) -> None:
    """Refuse a CT where an MRI is due; `harmonise` refuses a CT that is not in HU."""
    lowest = float(np.percentile(volume.voxels[::2, ::2, ::2], 1))
    if info.source == "mri" and lowest < CT_AIR_BELOW:
        raise VolumeError(
            "modality",
            f"The model takes MRI, and this is a CT: its values go down to {lowest:.0f}, as only "
            "air in HU does.",
            "Give an MRI, or use a model that was exported with --direction to_mri.",
        )
