"""How many synthetic heads a cohort has, and how finely they are made and scanned."""

from dataclasses import dataclass

from mrct.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortSettings:
    """How many heads, and how finely they are made and scanned."""

    num_train_mri: int = 12
    """Training subjects with an MRI only."""
    num_train_ct: int = 12
    """Training subjects with a CT only; other people than those with an MRI."""
    num_val: int = 2
    """Validation subjects, each with an aligned MRI and CT."""
    num_test: int = 4
    """Test subjects, each with an aligned MRI and CT."""
    in_plane_mm: float = 1.5
    """Pixel size of the scans; each scan's own differs by up to 20 %."""
    slice_mm: float = 3.0
    """Slice thickness of the scans; each scan's own differs by up to 20 %."""
    anatomy_mm: float = 2.0
    """Voxel size of the anatomical model that is scanned; below 1.5 is slow."""
    fov_mm: tuple[float, float, float] = (216.0, 250.0, 180.0)
    """Field of view along (x, y, z): the hard palate to just above the vertex."""

    def __post_init__(self) -> None:
        if min(self.num_train_mri, self.num_train_ct, self.num_val, self.num_test) < 0:
            raise UsageError("A cohort cannot have fewer than 0 subjects. Give counts from 0 on.")
        if min(self.in_plane_mm, self.slice_mm, self.anatomy_mm, *self.fov_mm) <= 0:
            raise UsageError("Sizes in mm must be above 0: voxels need an extent.")
