"""Command-line arguments of `python -m cyclegan.translate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from data_prep.datasets.split import Split
from data_prep.readers.tolerances import Leniency
from mrct.cli import optional
from mrct.errors import UsageError

Format = Literal["same", "nifti", "dicom"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslateCommand:
    """Make synthetic CTs in HU (or MRIs), each on its input's own grid. For research only.

      python -m cyclegan.translate runs/brain/model_to_ct STUDIES --preview

    The same command resumes an interrupted translation.
    """

    HELP_OPTIONS: ClassVar = (
        "model",
        "inputs",
        "out",
        "format",
        "direction",
        "deidentify",
        "keep_names",
        "uncertainty",
        "preview",
        "split",
    )
    HELP_DETAILS: ClassVar = """
Inputs are .nii .nii.gz .mha .nrrd files, DICOM series, folders that contain any of them at any
depth, or a store (one --split of it). DICOM inputs give a DICOM CT series with the patient, study
and frame of reference of its MR. Other files give NIfTI.

  synthetic/<name>_synthetic-ct.nii.gz   or a folder with a series
  synthetic/translations.jsonl           list of results, with warnings
  synthetic.id-map.csv                   path of each input (private)
  synthetic.quarantine.jsonl             refused inputs, with reasons (private)

<name> is the start of the input's SHA-256, since file names may identify patients; --keep-names
keeps them. An input that cannot be used is listed and the others are translated (exit code 3).
"""

    model: Annotated[Path, Positional, arg(metavar="MODEL")]
    """Model folder, written by `python -m cyclegan.export`: of a generator or a contrast table."""
    inputs: Annotated[
        tuple[Path, ...], Positional, arg(metavar="INPUT ...", help_behavior_hint="(required)")
    ]
    """Volume files, DICOM series, folders of them, or stores."""
    out: Path = Path("synthetic")
    """Folder for the results; git ignores the default."""
    format: Format = "same"
    """`same`: DICOM for DICOM inputs, NIfTI for all others. DICOM is for synthetic CT only."""
    direction: Annotated[
        Literal["mri-to-ct", "ct-to-mri"] | None, optional("{mri-to-ct,ct-to-mri}", "mri-to-ct")
    ] = None
    """Model to use from a folder of both directions."""
    axial: bool = False
    """Write axial slices perpendicular to the patient's axes, as planning systems often require,
    instead of the input's own slices."""
    deidentify: bool = False
    """In DICOM, replace the patient and all UIDs by keyed pseudonyms (key in OUT.key) and remove
    dates."""
    keep_names: bool = False
    """Name results after the files and folders of their inputs, which may identify patients.
    Volumes of a store are always named by their pseudonyms."""
    uncertainty: bool = False
    """Also write the uncertainty of each voxel in HU: the spread over mirrored and shifted slices
    and, if the model folder contains both directions, the cycle error. Takes 5 times as long, or 7
    times with the cycle error."""
    preview: bool = False
    """Also write an image of each result as PNG."""
    outside_body: Literal["air", "network"] = "air"
    """Values outside the body's outline: -1024 HU or the output of the network."""
    split: Split = "test"
    """Split of a store to translate."""
    engine: Literal["torch", "onnxruntime"] = "torch"
    """Library that runs the network; onnxruntime runs on the CPU, in fp32."""
    compile: bool = False
    """Compile the torch network: takes half a minute at first, then a large network is 1.5 times as
    fast."""
    precision: Precision = "fp32"
    """bf16 is faster on hardware that supports it, and differs by some HU. On a GPU, fp32 is TF32
    in convolutions, which differs by less than 1 HU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for torch; auto: a GPU if there is one."""
    batch_size: int = 8
    """Slices per forward pass; fewer take less memory."""
    processes: int = 1
    """Processes of this machine that share the inputs, each with the model and its part of the
    cores. An input whose process dies is given to another, once."""
    overwrite: bool = False
    """Replace existing results."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UsageError(f"--processes is {self.processes}; it must be at least 1.")
