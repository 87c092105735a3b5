"""The check before a model is published: exported files must match the trained network.

Outputs are compared on real slices of a store, in fp32.
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
from cyclegan.inference.slices import Conditions, Network, input_slices, to_input, translate_volume
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.imaging.hounsfield import WINDOW_HU

VALUE_RANGE = WINDOW_HU[1] - WINDOW_HU[0]
"""Width of [-1, 1] in HU; for an MRI, in grey levels."""
TOLERANCE = 1.0
"""Largest allowed difference in HU, or in grey levels of 4095: the step of the int16 results."""
VOLUMES, SLICES = 4, 2
SPLITS_TO_TRY: tuple[Split, ...] = ("val", "test", "train")


def check_parity(
    trained: Network,
    folder: Path,
    images: Float[Tensor, "N C H W"],
    settings: GeneratorConfig,
) -> dict[str, float]:
    """Return, per exported file, the largest difference of any voxel from the trained network.

    Images are in [-1, 1]; differences are in HU, or in grey levels of 4095 for an MRI. The slices
    go through as one batch, then one of them on a larger canvas, as from a larger input.

    Raises:
        ModelError: A file differs by `TOLERANCE` or more, or by NaN.
    """
    expected = run_network(trained, images)
    differences = {
        name: difference(
            expected, run_network(open_format(form, folder, images.shape[1], settings), images)
        )
        for form, name in FILES.items()
    }
    if broken := {name: d for name, d in differences.items() if not d < TOLERANCE}:
        raise ModelError(
            "The outputs of the exported files differ from those of the trained network: "
            + ", ".join(f"{name} differs by up to {d:.3g}" for name, d in broken.items())
            + f" of {VALUE_RANGE:g} HU or grey levels on {len(images)} slices of the store; less "
            f"than {TOLERANCE:g} is allowed. Nothing was published. Try again with the library "
            "versions of constraints.txt; if the error persists, report it with this message."
        )
    return differences


def run_network(network: Network, images: Float[Tensor, "N C H W"]) -> list[Tensor]:
    """Return the outputs of a network for all slices in one batch, and for one on a larger
    canvas."""
    larger = F.pad(images[:1], (MULTIPLE, 0, MULTIPLE, MULTIPLE), value=-1.0)
    return [translate_volume(network, batch, len(batch)) for batch in (images, larger)]


def difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Return the largest absolute difference of the outputs of two networks, in HU or grey
    levels."""
    worst = [(a - b).abs().max() for a, b in zip(expected, found, strict=True)]
    # A NaN on either side stays one through the maximum, and is not below any tolerance.
    return float(torch.stack(worst).max()) * VALUE_RANGE / 2


def real_slices(store: Store, info: ModelInfo) -> Float[Tensor, "N C H W"]:
    """Return model inputs for up to 8 slices, two from the inside of each held-out volume.

    The volumes are of the val split, else test, else train, since a store of very few subjects may
    have no other.

    Raises:
        ModelError: The store contains no volume of this modality.
    """
    for split in SPLITS_TO_TRY:
        if volumes := store.select(info.source, split)[:VOLUMES]:
            break
    else:
        raise ModelError(
            f"The store {store.path} contains no {info.source} volume to check the export on. Give "
            "the store that the run was trained on with --store."
        )
    contrast, batches = info.intensity.mri_contrast, []
    for volume in volumes:
        # The thirds of the volume's height: inside the body, where the network has work to do.
        chosen = torch.linspace(0, volume.shape[0] - 1, SLICES + 2).long()[1:-1]
        body = store.body(volume)
        images = to_input(store.voxels(volume), body, volume.window, info.source, contrast)
        conditions = Conditions(body=body, height=volume.height) if info.conditions else None
        batches.append(input_slices(images, chosen, info.neighbours, conditions))
    return torch.cat(batches)
