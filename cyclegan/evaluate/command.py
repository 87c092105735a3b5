"""Command-line arguments of `python -m cyclegan.evaluate`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import Positional

from cyclegan.metrics.protocol import ProtocolName
from data_prep.datasets.split import Split
from mrct.cli import Json, optional
from mrct.errors import UsageError
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateCommand:
    """Score a run or an exported model, with baselines and other models for comparison: masked MAE,
    PSNR, MS-SSIM, bone and more for MRIs with a real CT; distributions and cycles without one.
    Writes scores.json, per_volume.csv and report.html.
    """

    HELP_OPTIONS: ClassVar = (
        "run",
        "store",
        "split",
        "compare",
        "register",
        "native",
        "out",
        "json",
    )

    run: Annotated[Positional[StoragePath | None], optional("[RUN]", "the first of --compare")] = (
        None
    )
    """Folder or URL of a run (its best checkpoint is scored), one of its checkpoints/step_*, or an
    exported model."""
    store: Annotated[StoragePath | None, optional("PATH|URL", "that of the run")] = None
    """Zarr store."""
    split: Split = "test"
    """Split to score."""
    protocol: ProtocolName = "synthrad2025"
    """Definition of PSNR and SSIM: the HU range is [-1024, 3071] or, for 2023, [-1024, 3000];
    multi-scale SSIM is part of 2025 only."""
    compare: Annotated[tuple[StoragePath, ...], optional("[RUN ...]", "none")] = ()
    """Other runs, checkpoints or model folders to score on the same volumes, with a paired
    significance test."""
    register: Literal["no", "rigid"] = "no"
    """Register each real CT rigidly to its MRI first, from the two scans alone; the transforms are
    in the results."""
    native: Annotated[Path | None, optional("PATH", "the grid of the store")] = None
    """Score pairs on the grid of the original CT file: a folder of CT files or DICOM, or a
    manifest. Files are identified by their SHA-256."""
    segmenter: Annotated[str, optional("COMMAND", "none")] = ""
    """Command of a segmenter, with {ct} for the CT file (.nii.gz, HU) and {out} for the folder of
    its masks: adds Dice and HD95 of every structure, synthetic against real CT. E.g.
    'TotalSegmentator -i {ct} -o {out} --fast'."""
    out: Annotated[Path | None, optional("DIR", "RUN/evaluation_<split>")] = None
    """Folder for the results; in runs/NAME by default if the run is at a URL."""
    pictures: int = 3
    """Number of MRI volumes shown in the report, those with the largest error first."""
    batch_size: int = 8
    """Slices per forward pass; affects only memory and speed."""
    threads: int = min(4, os.cpu_count() or 1)
    """Methods of a volume that are scored in parallel; each needs its own memory."""
    json: Json = False

    def __post_init__(self) -> None:
        if not self.named:
            raise UsageError(
                "Nothing to score: give the folder of a run or of an exported model, such as "
                "runs/demo, or two or more with --compare."
            )

    @property
    def named(self) -> list[StoragePath]:
        """The paths to score, first the one that the report is about."""
        return [*([self.run] if self.run else []), *self.compare]
