"""What a conversion is asked to do: inputs, grid, splits, and what may pass. It opens nothing."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, arg

from data_prep.datasets.split import Fractions
from data_prep.preprocess.spec import Recipe
from data_prep.readers.tolerances import Leniency
from mrct.errors import UsageError
from mrct.imaging.interpolation import Interpolation
from mrct.storage.paths import StoragePath


def _optional(metavar: str, default: str) -> object:
    """How --help shows an option that may be left out."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


Folder = Annotated[Path | None, _optional("DIR", "none")]
Csv = Annotated[Path | None, _optional("CSV", "none")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertSettings:
    """Convert MRI and CT volumes to one Zarr store, the input of training.

    Say how the data set is laid out:

      --mri MRI --ct CT     a folder per modality, at any depth:
                            .nii .nii.gz .mha .nrrd or DICOM
      --bids DIR            sub-01[/ses-1]/anat/sub-01_T1w.nii.gz
      --synthrad Task1      CASE/mr, ct, mask (2023 or 2025)
      --manifest LIST.csv   path,modality,subject,split,pair,mask

    In full, each after `python -m data_prep`; with --dry-run they
    show what would be done and write nothing:

      convert --mri MRI --ct CT --out brain.zarr
      convert --mri STUDIES --ct STUDIES --paired --out pelvis.zarr
      convert --bids DATASET --mri-suffix T2w --out brain.zarr
      convert --synthrad Task1/brain --out synthrad.zarr
      convert --manifest LIST.csv --out brain.zarr --workers 8

    CT must be in HU. Every volume gets one voxel size and one
    in-plane size, centred on the body; z keeps its length. Subjects
    are dealt to train, val and test by the key, and stay there.

    Whose a file is: the first folder below --mri or --ct, or at the
    top the file's own name; sub-01 in BIDS; the case in SynthRAD;
    PatientID in DICOM.

    What ends up where:

      STORE                    pseudonyms only: no name, no path
      STORE.key                the secret of the pseudonyms
      STORE.quarantine.jsonl   what was refused, why, what to do

    Keep the key apart from the store. The last two are private. Run
    the same command again to go on where it stopped, or to add
    volumes. Exit codes: 0 done, 1 failed, 2 wrong use, 3 some volumes
    refused and the rest done, 4 storage full.
    """

    out: StoragePath
    """The store to make or to add to: brain.zarr, or a URL such as s3://bucket/brain.zarr."""
    mri: Folder = None
    """Folder of MRIs: volume files and DICOM series at any depth."""
    ct: Folder = None
    """Folder of CTs. A study with both modalities as DICOM may be named at both."""
    bids: Folder = None
    """Root of a BIDS-like tree, with sub-01, sub-02: an MRI and a CT (suffix ct) per session."""
    mri_suffix: str = "T1w"
    """How an MRI's name in BIDS ends: T1w, ce-gadolinium_T1w. The plainest counts."""
    synthrad: Folder = None
    """Folder of SynthRAD cases at any depth."""
    manifest: Csv = None
    """A row per volume: path (file or folder of one DICOM series), modality, subject, ... ."""
    paired: bool = False
    """MRI and CT of equal names, of a BIDS session, or in a DICOM frame of reference are pairs."""
    same_subjects: bool = False
    """Equal names below --mri and --ct are one person, not aligned; else they are two people."""
    spacing_mm: Annotated[tuple[float, float, float], arg(metavar="Z Y X")] = (3.0, 1.0, 1.0)
    """Voxel size of the store in mm: between slices, rows, columns."""
    size: Annotated[tuple[int, int], arg(metavar="Y X")] = (256, 256)
    """Rows and columns of every slice, in voxels, multiples of 4: 256 x 1 mm holds a head."""
    interpolation: Interpolation = "linear"
    """How voxels are resampled; cubic keeps more detail and rings at edges, CT stays in range."""
    bias_correction: bool = False
    """Divide out the slow change of brightness that coils leave in an MRI (N4); takes seconds."""
    split: Annotated[Fractions, arg(metavar="TRAIN VAL TEST")] = (0.8, 0.1, 0.1)
    """Shares of the subjects whose split is said nowhere; kept within each modality."""
    split_file: Csv = None
    """Rows subject,split (train, val or test), subjects called as the data set calls them."""
    key_file: Annotated[Path | None, _optional("FILE", "STORE.key")] = None
    """Secret that pseudonyms are made with; made where there is none yet."""
    id_map: Annotated[Path | None, _optional("FILE", "none")] = None
    """Write here, for your eyes only, which pseudonym is which subject and path (CSV, 0600)."""
    dry_run: bool = False
    """Print volumes, refusals that headers show, bytes, time and splits; write nothing."""
    workers: Annotated[int | None, _optional("N", "all cores")] = None
    """Volumes converted at a time; 0 works in this process, without Ray."""
    ray_address: Annotated[str | None, _optional("ADDRESS", "a Ray of its own")] = None
    """A running Ray cluster (HOST:6379, or auto) whose machines all see these folders."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)
    repair: bool = False
    """First read every byte of the store, take out what is damaged, and make it again too."""

    @property
    def key_path(self) -> Path:
        """The file of the pseudonyms' secret."""
        return self.key_file or self.out.beside(".key")

    @property
    def recipe(self) -> Recipe:
        """The part that decides what becomes of a volume."""
        return Recipe(
            spacing_mm=self.spacing_mm,
            size=self.size,
            interpolation=self.interpolation,
            bias_correction=self.bias_correction,
        )

    @property
    def quarantine_path(self) -> Path:
        """The private list of what was refused."""
        return self.out.beside(".quarantine.jsonl")

    def absolute(self) -> "ConvertSettings":
        """The same with absolute paths: Ray's workers have a working folder of their own."""
        places: dict[str, Any] = {
            each.name: value.absolute()
            for each in fields(self)
            if hasattr(value := getattr(self, each.name), "absolute")
        }
        return replace(self, **places)

    def __post_init__(self) -> None:
        folders = self.mri is not None or self.ct is not None
        layouts = [folders, *(x is not None for x in (self.bids, self.synthrad, self.manifest))]
        if sum(layouts) != 1:
            raise UsageError(
                f"{'Nothing to convert' if not any(layouts) else 'Two lists of what to convert'}: "
                "give --mri DIR and --ct DIR, or --bids DIR, or --synthrad DIR, or "
                "--manifest FILE.csv."
            )
        if self.paired and (self.manifest or self.synthrad):
            raise UsageError(
                "--paired says how names below --mri and --ct, or --bids, are understood. A "
                "manifest says it by its column `pair`, and SynthRAD cases are pairs: leave it out."
            )
        if self.same_subjects and not folders:
            raise UsageError(
                "--same-subjects says how names below --mri and --ct are understood, and the other "
                "layouts name subjects themselves: leave it out."
            )
        _ = self.recipe  # refuses a grid that cannot be
        if abs(sum(self.split) - 1) > 1e-6 or min(self.split) < 0:
            raise UsageError(
                f"The shares {self.split} do not add up to 1. Give e.g. --split 0.8 0.1 0.1."
            )
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: give 0, for no Ray, or more.")
        for flag, path in (("--id-map", self.id_map), ("--key-file", self.key_file)):
            if path and self.out.contains(path):
                raise UsageError(
                    f"{flag} {path} lies inside the store, and whoever gets the store would get "
                    f"it too. Give a place outside of {self.out}."
                )
