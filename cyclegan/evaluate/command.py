"""What `python -m cyclegan.evaluate` may be asked for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from cyclegan.metrics.protocol import ProtocolName
from data_prep.datasets.split import Split
from mrct.errors import UsageError
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Score a run or an exported model: masked MAE, PSNR, MS-SSIM, bone and more where a real CT
    is beside, populations and cycles where not; baselines and other models beside. Writes
    scores.json, per_volume.csv and report.html.
    """

    run: Positional[StoragePath | None] = None
    """Folder or URL of a run (its best checkpoint is taken), one of its checkpoints/step_*, or an
    exported model; default: the first of --compare."""
    store: StoragePath | None = None
    """Zarr store; default: the run's own."""
    split: Split = "test"
    """Which subjects."""
    protocol: ProtocolName = "synthrad2025"
    """Whose definition of PSNR and SSIM: the HU range is [-1024, 3071] or, in 2023, [-1024, 3000];
    multi-scale SSIM came with 2025."""
    compare: tuple[StoragePath, ...] = ()
    """Other runs, checkpoints or model folders to score on the same volumes, with a paired test."""
    register: Literal["no", "rigid"] = "no"
    """Move each real CT onto its MRI by a turn and a shift first, found from the two scans alone;
    what was done is in the results."""
    native: Path | None = None
    """Score pairs on the grid of the CT's own file: a folder of CT files or DICOM, or a manifest.
    The files are told by their SHA-256."""
    segmenter: str = ""
    """Command of a segmenter, with {ct} for the CT's file (.nii.gz, HU) and {out} for the folder
    of its masks: adds Dice and HD95 of every structure, synthetic against real CT.
    E.g. 'TotalSegmentator -i {ct} -o {out} --fast'."""
    out: Path | None = None
    """Folder for the results; default: RUN/evaluation_<split>, or in the working folder where the
    run lies under a URL."""
    pictures: int = 3
    """MRI volumes shown in the report, those with the largest error first."""
    batch_size: int = 8
    """Slices that go through a network at once; only memory and speed depend on it."""
    threads: int = min(4, os.cpu_count() or 1)
    """Methods of a volume that are scored at the same time; each needs memory of its own."""

    def __post_init__(self) -> None:
        if not self.named:
            raise UsageError(
                "nothing to score: name the folder of a run or of an exported model, such as "
                "runs/demo, or two or more with --compare."
            )

    @property
    def named(self) -> list[StoragePath]:
        """The paths to score, the one that the report is about first."""
        return [*([self.run] if self.run else []), *self.compare]
