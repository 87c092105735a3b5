"""Settings of a conversion: inputs, grid, splits, and tolerated faults."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import OmitArgPrefixes, arg

from data_prep.datasets.image_filter import ImageFilter, parse_filter
from data_prep.datasets.split import Fractions, SubjectRule
from data_prep.dicom.image_kind import ALL, KINDS
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.readers.tolerances import Leniency
from mrct.cli import optional
from mrct.errors import UsageError
from mrct.imaging.interpolation import Interpolation
from mrct.imaging.modality import Modality
from mrct.storage.paths import StoragePath

Folder = Annotated[Path | None, optional("DIR", "none")]
Csv = Annotated[Path | None, optional("CSV", "none")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertSettings:
    """Convert MRI and CT volumes to one Zarr store, the input of training.

      python -m data_prep convert --mri MRI --ct CT --out brain.zarr --dry-run

    previews what the same command without --dry-run does. CT must be in HU. The same command
    resumes an interrupted conversion, and adds volumes.
    """

    HELP_OPTIONS: ClassVar = (
        "out",
        "mri",
        "ct",
        "bids",
        "synthrad",
        "manifest",
        "mri_kind",
        "paired",
        "size",
        "dry_run",
    )
    HELP_DETAILS: ClassVar = """
Layouts of data sets:

  --mri MRI --ct CT     a folder per modality, at any depth:
                        .nii .nii.gz .mha .nrrd or DICOM;
                        or a quoted pattern of files or folders
  --bids DIR            sub-01[/ses-1]/anat/sub-01_T1w.nii.gz
  --synthrad Task1      CASE/mr, ct, mask (2023 or 2025)
  --manifest LIST.csv   path,modality,subject,split,pair,mask

Examples, each after `python -m data_prep`:

  convert --mri MRI --ct CT --out brain.zarr
  convert --mri STUDIES --ct STUDIES --paired --out pelvis.zarr
  convert --mri 'X/*_0000.nii.gz' --ct CT --out abdomen.zarr
  convert --mri STUDIES --mri-kind T1w --out brain.zarr
  convert --bids DATASET --mri-suffix T2w --out brain.zarr
  convert --synthrad Task1/brain --out synthrad.zarr
  convert --manifest LIST.csv --out brain.zarr --workers 8

Every volume gets one voxel size and one in-plane size, centred on the body; z keeps its length. The
key assigns subjects to train, val and test, permanently.

The subject of a file is the first folder below --mri or --ct, or the name of a file that lies
directly in it, or what {subject} or the first wildcard of a pattern stands for; sub-01 in BIDS; the
case in SynthRAD; PatientID in DICOM, or as --subject-by says.

Files written:

  STORE                    volumes under pseudonyms: no names or paths
  STORE.key                the secret key of the pseudonyms
  STORE.quarantine.jsonl   refused inputs with reason and remedy

The last two are private. Keep the key apart from the store. Exit codes: 0 done, 1 failed, 2 wrong
use, 3 some volumes refused and the others done, 4 storage full.
"""

    out: StoragePath
    """Store to create or to extend: brain.zarr, or a URL such as s3://bucket/brain.zarr."""
    mri: Folder = None
    """Folder of MRIs, volume files and DICOM series at any depth, or a pattern such as
    'set_1/{subject}/*_MR_T1.nrrd'."""
    ct: Folder = None
    """The same for CTs. A DICOM study with both modalities may be given for both --mri and
    --ct."""
    bids: Folder = None
    """Root of a BIDS-like tree, with sub-01, sub-02: an MRI and a CT (suffix ct) per session."""
    mri_suffix: str = "T1w"
    """BIDS suffix of the MRI, with entities that it must have (acq-mprage_T1w); of several, the
    name with fewest entities wins."""
    synthrad: Folder = None
    """Folder of SynthRAD cases at any depth."""
    manifest: Csv = None
    """CSV file with a row per volume: path (file or DICOM folder), modality, subject, ... ."""
    mri_kind: Annotated[tuple[str, ...], optional("KIND", "none")] = ()
    """Kinds of MRI to take, such as T1w, T2w or FLAIR; all: every kind that shows anatomy. Others:
    T1w-contrast PDw SWI DWI ADC TOF dixon-water dixon-fat in-phase opposed-phase localizer derived
    unknown."""
    ct_kind: Annotated[tuple[str, ...], optional("KIND", "none")] = ()
    """Kinds of CT to take: native contrast topogram derived unknown, or all that show anatomy."""
    mri_where: Annotated[str | None, optional("CONDITION", "none")] = None
    """Take only MRIs whose header meets a condition: 'EchoTime<30 and not contrast'."""
    ct_where: Annotated[str | None, optional("CONDITION", "none")] = None
    """Take only CTs whose header meets a condition: 'Spacing<=3 and Slices>=40'."""
    paired: bool = False
    """Pair MRI and CT of equal names, of one BIDS session, or of one DICOM frame of reference."""
    same_subjects: bool = False
    """Treat equal names below --mri and --ct as one subject, unaligned; else as two subjects."""
    subject_by: SubjectRule = "id"
    """Subject of a DICOM series below --mri or --ct: its PatientID, its study, or the first folder
    below DIR. Give study or folder if several people share a PatientID."""
    spacing_mm: Annotated[tuple[float, float, float], arg(metavar="Z Y X")] = (3.0, 1.0, 1.0)
    """Voxel size of the store in mm: between slices, rows, columns."""
    size: Annotated[tuple[int, int], arg(metavar="Y X")] = (256, 256)
    """Rows and columns of every slice, in voxels, multiples of 4: 256 x 1 mm holds a head."""
    interpolation: Interpolation = "linear"
    """Interpolation of voxels; cubic keeps more detail but rings at edges. CT stays in range."""
    bias_correction: bool = False
    """Correct the bias field of the receive coils in MRI (N4); takes seconds per volume."""
    split: Annotated[Fractions, arg(metavar="TRAIN VAL TEST")] = (0.8, 0.1, 0.1)
    """Fractions for subjects without an explicit split, kept within each modality."""
    split_file: Csv = None
    """CSV file with rows subject,split (train, val or test), subjects as named in the data set."""
    key_file: Annotated[Path | None, optional("FILE", "STORE.key")] = None
    """Secret key for pseudonyms; created if it does not exist."""
    id_map: Annotated[Path | None, optional("FILE", "none")] = None
    """Write the mapping from pseudonym to subject and path here (CSV, confidential, mode 0600)."""
    dry_run: bool = False
    """Print volumes, refusals by their headers, bytes, time and splits; write nothing."""
    workers: Annotated[int | None, optional("N", "all cores")] = None
    """Volumes converted at a time; 0 converts in this process, without Ray."""
    ray_address: Annotated[str | None, optional("ADDRESS", "a Ray of its own")] = None
    """Running Ray cluster (HOST:6379, or auto) whose nodes can all access these folders."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)
    repair: bool = False
    """First read every byte of the store, remove damaged volumes, and convert them again."""

    @property
    def key_path(self) -> Path:
        """Path of the secret key of the pseudonyms."""
        return self.key_file or self.out.beside(".key")

    @property
    def preprocessing(self) -> PreprocessingSpec:
        """The settings that determine the stored voxels."""
        return PreprocessingSpec(
            spacing_mm=self.spacing_mm,
            size=self.size,
            interpolation=self.interpolation,
            bias_correction=self.bias_correction,
        )

    @property
    def filters(self) -> dict[Modality, ImageFilter | None]:
        """The conditions on MRIs and CTs; raises UsageError if one is not understood."""
        mri, ct = self.mri_where, self.ct_where
        return {
            "mri": parse_filter(mri, "--mri-where") if mri else None,
            "ct": parse_filter(ct, "--ct-where") if ct else None,
        }

    @property
    def quarantine_path(self) -> Path:
        """Path of the private list of refused inputs."""
        return self.out.beside(".quarantine.jsonl")

    def absolute(self) -> "ConvertSettings":
        """Return a copy with absolute paths: Ray workers have another working folder."""
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
                f"{'No input is given' if not any(layouts) else 'Two kinds of input are given'}: "
                "give --mri DIR and --ct DIR, or --bids DIR, or --synthrad DIR, or "
                "--manifest FILE.csv."
            )
        if self.paired and (self.manifest or self.synthrad):
            raise UsageError(
                "--paired applies to --mri and --ct and to --bids only: a manifest names pairs in "
                "its column `pair`, and SynthRAD cases are pairs. Omit --paired."
            )
        if self.same_subjects and not folders:
            raise UsageError(
                "--same-subjects applies to --mri and --ct only: the other layouts name subjects "
                "themselves. Omit --same-subjects."
            )
        if self.subject_by != "id" and not folders:
            raise UsageError(
                "--subject-by applies to --mri and --ct only: the other layouts name subjects "
                "themselves. Omit --subject-by."
            )
        _ = self.preprocessing  # its constructor validates the grid
        _ = self.filters  # parses them
        _check_kinds("mri", self.mri_kind)
        _check_kinds("ct", self.ct_kind)
        if self.manifest and (self.mri_kind or self.ct_kind or self.mri_where or self.ct_where):
            raise UsageError(
                "A manifest chooses the volumes itself: omit --mri-kind, --ct-kind, --mri-where "
                "and --ct-where, and delete the rows that are not wanted."
            )
        if abs(sum(self.split) - 1) > 1e-6 or min(self.split) < 0:
            raise UsageError(
                f"The fractions {self.split} do not add up to 1. Give e.g. --split 0.8 0.1 0.1."
            )
        if self.workers is not None and self.workers < 0:
            raise UsageError(
                f"--workers is {self.workers}, which is negative. Give 0 (without Ray) or more."
            )
        for flag, path in (("--id-map", self.id_map), ("--key-file", self.key_file)):
            if path and self.out.contains(path):
                raise UsageError(
                    f"{flag} {path} lies inside the store, so everyone who gets the store would "
                    f"get it too. Give a path outside {self.out}."
                )


def _check_kinds(modality: Modality, kinds: tuple[str, ...]) -> None:
    known = (*KINDS[modality], ALL)
    for kind in kinds:
        if kind not in known:
            raise UsageError(
                f"--{modality}-kind {kind[:40]} is no kind of {modality.upper()}. Give one or more "
                f"of {', '.join(known)}."
            )
