"""The check before a model is published: exported files must match the trained network.

Outputs are compared on real slices of a store, in fp32. The trained network is shown what the code
of the training's stream makes of them by the run's configuration, an exported file what `translate`
would make of them by `model.json`: a setting that only one of them follows makes a difference.
Axes: N slices, C input channels, H rows, W columns.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cyclegan.config.config import Config, GeneratorConfig
from cyclegan.data.example_slices import example_inputs
from cyclegan.data.reader import SliceRef
from cyclegan.errors import DataError, ModelError
from cyclegan.export.formats import FILES, MULTIPLE, open_format
from cyclegan.export.metadata import ModelInfo
from cyclegan.inference.cycle import conditions_of
from cyclegan.inference.slices import Network, input_slices, to_input, translate_volume
from data_prep.datasets.split import Split
from data_prep.store.store import Store
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.modality import Modality

VALUE_RANGE = WINDOW_HU[1] - WINDOW_HU[0]
"""Width of [-1, 1] in HU; for an MRI, in grey levels."""
TOLERANCE = 1.0
"""Largest allowed difference in HU, or in grey levels of 4095: the step of the int16 results."""
SLICES = 8
SPLITS_TO_TRY: tuple[Split, ...] = ("val", "test", "train")


def check_parity(
    trained: Network,
    folder: Path,
    in_training: Float[Tensor, "N C H W"],
    in_use: Float[Tensor, "N C H W"],
    settings: GeneratorConfig,
) -> dict[str, float]:
    """Return, per exported file, the largest difference of any voxel from the trained network.

    Differences are in HU, or in grey levels of 4095 for an MRI. The slices go through as one
    batch, then one of them on a larger canvas, as from a larger input.

    Args:
        trained: The trained network.
        folder: Folder of the exported files.
        in_training: Images in [-1, 1] for the trained network, as in its training.
        in_use: The same slices for the exported files, as when the model is used.
        settings: Settings of the network.

    Raises:
        ModelError: A file differs by `TOLERANCE` or more, or by NaN.
    """
    expected = run_network(trained, in_training)
    differences = {
        name: difference(
            expected, run_network(open_format(form, folder, in_use.shape[1], settings), in_use)
        )
        for form, name in FILES.items()
    }
    if broken := {name: d for name, d in differences.items() if not d < TOLERANCE}:
        raise ModelError(
            "The outputs of the exported files differ from those of the trained network: "
            + ", ".join(f"{name} differs by up to {d:.3g}" for name, d in broken.items())
            + f" of {VALUE_RANGE:g} HU or grey levels on {len(in_use)} slices of the store; less "
            f"than {TOLERANCE:g} is allowed, and inputs differ by up to "
            f"{difference([in_training], [in_use]):.0f}. Nothing was published. Try again with the "
            "library versions of constraints.txt; if the error persists, report it with this "
            "message."
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


def example_slices(
    store: Store, config: Config, modality: Modality
) -> tuple[list[SliceRef], Tensor]:
    """Return up to `SLICES` slices of held-out volumes, and the inputs that training makes of them.

    They are of the val split, else test, else train, since a store of very few subjects may have no
    other.

    Raises:
        ModelError: The store contains no usable slice of this modality.
    """
    reasons = []
    for split in SPLITS_TO_TRY:
        try:
            return example_inputs(store, config, modality, split, SLICES)
        except DataError as error:
            reasons.append(error)
    raise ModelError(
        f"The store {store.path} contains no {modality} slices to check the export on. Give the "
        f"store that the run was trained on with --store. {reasons[-1]}"
    ) from reasons[-1]


def model_inputs(
    store: Store, slices: Sequence[SliceRef], info: ModelInfo
) -> Float[Tensor, "N C H W"]:
    """Return the inputs that `translate` makes of stored slices, by the content of `model.json`."""
    batches = []
    for _, group in groupby(slices, key=lambda each: each.volume.name):
        of_volume = list(group)
        volume, z = of_volume[0].volume, torch.tensor([each.z for each in of_volume])
        body = store.body(volume)
        images = to_input(
            store.voxels(volume), body, volume.window, info.source, info.intensity.mri_contrast
        )
        conditions = conditions_of(volume, body, info.height_axis) if info.conditions else None
        batches.append(input_slices(images, z, info.neighbours, conditions))
    return torch.cat(batches)
