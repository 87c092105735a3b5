"""What a conversion is asked to do: inputs, grid, splits, and what may pass. It opens nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from data_prep.errors import UsageError
from data_prep.place import PlaceArgument
from data_prep.source import Leniency
from data_prep.split import Fractions


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertSettings:
    """Convert NIfTI and DICOM volumes to one Zarr store. Run it again to go on where it stopped."""

    out: PlaceArgument
    """The store to make or to add to: brain.zarr, or a URL such as s3://bucket/brain.zarr."""
    mri: Path | None = None
    """Folder of MRI volumes: .nii and .nii.gz files, each a subject, or DICOM at any depth."""
    ct: Path | None = None
    """Folder of CT volumes: .nii and .nii.gz files in HU, each a subject, or DICOM."""
    manifest: Path | None = None
    """CSV with the columns path,modality,subject,split,pair, instead of folders."""
    paired: bool = False
    """Equal NIfTI names under --mri and --ct are an aligned pair of one subject."""
    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.0)
    """Voxel size of the store along z y x, in mm."""
    size: tuple[int, int] = (256, 256)
    """Rows and columns (Y X) of every slice, in voxels; multiples of 4."""
    split: Fractions = (0.8, 0.1, 0.1)
    """Shares of train, val and test for subjects without a split in the manifest."""
    key_file: Path | None = None
    """Secret that pseudonyms are made with, kept outside the store; OUT.key if not given."""
    workers: int | None = None
    """Volumes converted at a time, all cores if not given; 0 works here, without Ray."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)
    repair: bool = False
    """First read every byte of the store, take out what is damaged, and make it again too."""
    ray_address: str | None = None
    """A running Ray cluster to use (`auto` finds it); else a local one is started."""

    def __post_init__(self) -> None:
        if (self.manifest is None) == (self.mri is None and self.ct is None):
            raise UsageError(
                "Nothing to convert, or two lists of it: give --mri DIR and --ct DIR, "
                "or --manifest FILE."
            )
        if min(self.spacing_mm) <= 0 or any(n < 4 or n % 4 for n in self.size):
            raise UsageError(
                f"No store can have spacing {self.spacing_mm} mm and size {self.size}: spacing "
                "must be above 0, and the networks halve slices twice, so rows and columns must "
                "be multiples of 4. Give e.g. --spacing-mm 3 1 1 --size 256 256."
            )
        if abs(sum(self.split) - 1) > 1e-6 or min(self.split) < 0:
            raise UsageError(
                f"The shares {self.split} do not add up to 1. Give e.g. --split 0.8 0.1 0.1."
            )
