"""What `python -m cyclegan.export` may be asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Export generators as ONNX, torch.export and safetensors with a model card, in one folder.

    Nothing is written unless every format gives what the trained network gives, to less than
    1 HU, on real slices of the run's store.
    """

    run_folder: Positional[StoragePath]
    """Folder or URL of the run, which holds config.yaml and checkpoints."""
    direction: Literal["mri-to-ct", "ct-to-mri", "both"] = "mri-to-ct"
    """What the generator makes of what. `both` gives a folder that holds two model folders, to_ct
    and to_mri; `translate --uncertainty` knows more with both."""
    out: Path | None = None
    """The model folder; default: model_to_ct, model_to_mri or model_both in the run's folder, or in
    the working folder where the run lies under a URL."""
    checkpoint: str = "best"
    """`best`, `newest`, the name of a checkpoint (step_00001000), or its folder."""
    metric: str = "val/selection"
    """What the best checkpoint is best in: a score of the run's metrics.jsonl, such as val/mae_hu
    or val/ssim. Errors and distances count as better where they are lower."""
    scores: Path | None = None
    """JSON of `python -m cyclegan.evaluate`, kept in model.json and shown in the card."""
    store: StoragePath | None = None
    """The store to check on, where it is not at the run's data.store any more; made with the same
    preprocessing."""
    overwrite: bool = False
    """Replace the model that is there."""
