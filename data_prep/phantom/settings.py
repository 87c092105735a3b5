"""How many synthetic heads a cohort has, and how finely they are made and scanned."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from data_prep.dicom.image_kind import PHANTOM_ORIGIN
from mrct.errors import UsageError
from mrct.storage.atomic import write_atomic

Oddity = Literal[
    "none",
    "bone-flap",
    "burr-hole",
    "thick-skull",
    "thin-skull",
    "opaque-sinus",
    "calcification",
    "tumour",
    "metal-clip",
    "tilt",
    "child",
]
"""In what a subject differs from all others; see `oddities`."""
Weighting = Literal["t1", "t2"]
Generator = Literal["shapes", "levels"]
GENERATOR_VERSIONS: dict[Generator, int] = {"shapes": 1, "levels": 2}
"""Goes up when the same settings and seed give other voxels, by more than rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortSettings:
    """How many heads, and how finely they are made and scanned."""

    HELP_OPTIONS: ClassVar = (
        "num_train_mri",
        "num_train_ct",
        "num_val",
        "num_test",
        "in_plane_mm",
        "slice_mm",
        "generator",
        "mri_weighting",
    )

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
    generator: Generator = "shapes"
    """Formulas of geometry and contrast: `levels` share nothing with `shapes`, so that what was
    tuned on one can be judged on the other."""
    oddities: tuple[Oddity, ...] = ()
    """Oddities of the test subjects, one each and in turn; none by default."""
    mri_cut_mm: tuple[float, float] = (0.0, 0.0)
    """Largest cut (above, below) of the field of view of training MRIs; each has its own."""
    ct_cut_mm: tuple[float, float] = (0.0, 0.0)
    """The same of training CTs."""
    mri_fluid: float = 1.0
    """Factor of the fluid around the brain of all subjects with an MRI."""
    ct_skull: float = 1.0
    """Factor of the skull's thickness of the training subjects with a CT."""
    ct_fat: float = 1.0
    """The same of the scalp's fat."""
    mri_weighting: Weighting = "t1"
    """Contrast of the MRIs: a T1-weighted gradient echo or a T2-weighted spin echo."""
    contrast_agent: bool = False
    """Whether a gadolinium agent was given before the MRIs."""

    def __post_init__(self) -> None:
        if min(self.num_train_mri, self.num_train_ct, self.num_val, self.num_test) < 0:
            raise UsageError("A cohort cannot have fewer than 0 subjects. Give counts from 0 on.")
        if min(self.in_plane_mm, self.slice_mm, self.anatomy_mm, *self.fov_mm) <= 0:
            raise UsageError("Sizes in mm must be above 0: voxels need an extent.")
        if min(self.mri_fluid, self.ct_skull, self.ct_fat) <= 0:
            raise UsageError("Factors of thickness must be above 0: 1 leaves it as it is.")
        if self.generator == "levels" and (
            self.oddities or self.contrast_agent or self.mri_weighting != "t1"
        ):
            raise UsageError(
                "The generator `levels` has no oddities, contrast agent or T2: give --generator "
                "shapes with them."
            )
        for cut_mm in (self.mri_cut_mm, self.ct_cut_mm):
            if min(cut_mm) < 0 or sum(cut_mm) >= self.fov_mm[2]:
                raise UsageError(
                    f"Cuts of {cut_mm} mm leave nothing of a field of view of {self.fov_mm[2]} mm. "
                    "Give cuts from 0 on, above and below, that are smaller together."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortOrigin:
    """What decides every voxel of a cohort."""

    seed: int
    settings: CohortSettings
    version: int
    """Of the generator, see GENERATOR_VERSIONS."""

    @classmethod
    def now(cls, *, seed: int, settings: CohortSettings) -> "CohortOrigin":
        """Return the origin of a cohort that this version makes."""
        return cls(seed=seed, settings=settings, version=GENERATOR_VERSIONS[settings.generator])


def write_origin(folder: Path, origin: CohortOrigin) -> None:
    """Write what a cohort is made of beside its manifest."""
    write_atomic(folder / PHANTOM_ORIGIN, json.dumps(asdict(origin), indent=1).encode())


def read_origin(folder: Path) -> CohortOrigin | None:
    """Return what a cohort is made of; None if its generator did not write it, or had settings
    that this one lacks."""
    try:
        values: dict[str, Any] = json.loads((folder / PHANTOM_ORIGIN).read_text())
    except FileNotFoundError:
        return None
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values["settings"].items()
    }
    if not settings.keys() <= {field.name for field in fields(CohortSettings)}:
        return None
    return CohortOrigin(**values | {"settings": CohortSettings(**settings)})
