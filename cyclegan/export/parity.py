"""The gate before a model is published: every exported file must do what the trained network does.

It compares on real slices of a store, in fp32, and knows nothing of runs.
Axes: N slices, C input channels, H rows, W columns.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.config.config import GeneratorConfig
from cyclegan.errors import ModelError
from cyclegan.export.formats import FILES, MULTIPLE, open_format
from cyclegan.export.metadata import ModelInfo
from cyclegan.inference.slices import Conditions, Network, shown, to_input, translate_volume
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.imaging.hounsfield import WINDOW_HU

VALUE_RANGE = WINDOW_HU[1] - WINDOW_HU[0]
"""[-1, 1] in HU; for an MRI, grey levels."""
TOLERANCE = 1.0
"""HU, or grey levels of 4095: the step of the int16 that a result is written in."""
VOLUMES, SLICES = 4, 2
SPLITS_TO_TRY: tuple[Split, ...] = ("val", "test", "train")


def check_parity(
    trained: Network,
    folder: Path,
    images: Float[Tensor, "N C H W"],
    settings: GeneratorConfig,
) -> dict[str, float]:
    """Per exported file, the largest difference of any voxel from the trained network.

    Images are in [-1, 1]; differences are in HU, or in grey levels of 4095 for an MRI. The slices
    go through as one batch, then one of them on a larger canvas, as from a larger input.

    Raises:
        ModelError: A file differs by `TOLERANCE` or more, or by something that is no number.
    """
    expected = answers(trained, images)
    differences = {
        name: difference(
            expected, answers(open_format(form, folder, images.shape[1], settings), images)
        )
        for form, name in FILES.items()
    }
    if broken := {name: d for name, d in differences.items() if not d < TOLERANCE}:
        raise ModelError(
            "the exported files do not do what the trained network does: "
            + ", ".join(f"{name} differs by up to {d:.3g}" for name, d in broken.items())
            + f" of {VALUE_RANGE:g} HU or grey levels on {len(images)} slices of the store, "
            f"allowed is less than {TOLERANCE:g}. Nothing was published. Try again with the "
            "library versions of constraints.txt; if it stays, report it with this message."
        )
    return differences


def answers(network: Network, images: Float[Tensor, "N C H W"]) -> list[Tensor]:
    """What a network makes of all slices in one batch, and of one on a larger canvas."""
    larger = F.pad(images[:1], (MULTIPLE, 0, MULTIPLE, MULTIPLE), value=-1.0)
    return [translate_volume(network, batch, len(batch)) for batch in (images, larger)]


def difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest absolute difference between two networks' answers, in HU or grey levels."""
    worst = [(a - b).abs().max() for a, b in zip(expected, found, strict=True)]
    # A NaN on either side stays one through the maximum, and is not below any tolerance.
    return float(torch.stack(worst).max()) * VALUE_RANGE / 2


def real_slices(store: Store, info: ModelInfo) -> Float[Tensor, "N C H W"]:
    """A model's input for up to 8 slices, two each from the inside of held-out volumes.

    The val split, else test, else train: a store of very few subjects has no other.

    Raises:
        ModelError: The store holds no volume of this modality.
    """
    for split in SPLITS_TO_TRY:
        if volumes := store.select(info.source, split)[:VOLUMES]:
            break
    else:
        raise ModelError(
            f"the store {store.path} holds no {info.source} volume to check the export on. "
            "Name the store that the run was trained on with --store."
        )
    contrast, batches = info.intensity.mri_contrast, []
    for volume in volumes:
        # The thirds of the volume's height: inside the body, where the network has work to do.
        chosen = torch.linspace(0, volume.shape[0] - 1, SLICES + 2).long()[1:-1]
        body = store.body(volume)
        images = to_input(store.voxels(volume), body, volume.window, info.source, contrast)
        conditions = Conditions(body=body, height=volume.height) if info.conditions else None
        batches.append(shown(images, chosen, info.neighbours, conditions))
    return torch.cat(batches)
