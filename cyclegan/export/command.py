"""Command-line arguments of `python -m cyclegan.export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from mrct.cli import optional
from mrct.errors import UsageError
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportCommand:
    """Export generators as ONNX, torch.export and safetensors with a model card, in one folder.

    Nothing is written unless the output of every format differs by less than 1 HU from that of the
    trained network, on real slices of the run's store.
    """

    run_folder: Positional[StoragePath]
    """Folder or URL of the run, with config.yaml and checkpoints."""
    direction: Literal["mri-to-ct", "ct-to-mri", "both"] = "mri-to-ct"
    """Direction of the translation. `both` writes a folder with two model folders, to_ct and
    to_mri; `translate --uncertainty` then includes the cycle error."""
    table: bool = False
    """Export the run's contrast table (`python -m cyclegan.contrast`) instead of a generator."""
    out: Annotated[
        Path | None,
        optional("DIR", "RUN/model_to_ct, RUN/model_to_mri, RUN/model_both or RUN/model_table"),
    ] = None
    """Model folder to write; below runs/NAME by default if the run is at a URL."""
    checkpoint: str = "best"
    """Checkpoint: `best`, `newest`, a name (step_00001000), or its folder."""
    metric: str = "val/selection"
    """Score in the run's metrics.jsonl that selects the best checkpoint, such as val/mae_hu or
    val/ssim. For errors and distances, lower is better."""
    scores: Annotated[Path | None, optional("FILE", "none")] = None
    """JSON file from `python -m cyclegan.evaluate`, copied into model.json and shown in the model
    card."""
    licence: str = ""
    """Licence of the weights, for the model card."""
    picture: bool = False
    """Show a held-out person in the model card: only if you may pass on the picture."""
    store: Annotated[StoragePath | None, optional("PATH|URL", "the run's data.store")] = None
    """Store for the parity check, with the same preprocessing, if the run's has moved."""
    overwrite: bool = False
    """Replace an existing model folder."""

    def __post_init__(self) -> None:
        if not self.licence.isprintable() or len(self.licence) > 200:
            raise UsageError("--licence is a line of the model card, of at most 200 characters.")
