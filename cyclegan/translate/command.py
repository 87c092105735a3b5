"""What `python -m cyclegan.translate` may be asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from data_prep.datasets.split import Split
from data_prep.readers.tolerances import Leniency

Format = Literal["same", "nifti", "dicom"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Make synthetic CTs in HU (or MRIs), each on its input's own grid. For research only.

    Inputs are .nii .nii.gz .mha .nrrd files, DICOM series, folders that
    hold any of them at any depth, or a store (one --split of it):

      runs/brain/model_to_ct PATIENT_MR --out synthetic
      runs/brain/model_to_ct STUDIES --out synthetic --preview --keep-names

    DICOM in gives a DICOM CT series that files beside its MR: same
    patient, study and frame of reference. Files give NIfTI.

      synthetic/<name>_synthetic-ct.nii.gz   or a folder with a series
      synthetic/translations.jsonl           what was made, with warnings
      synthetic.id-map.csv                   which input is which (private)
      synthetic.quarantine.jsonl             what was left out, why (private)

    <name> begins the input's SHA-256, since names of files may name
    patients; --keep-names keeps them. An input that cannot be used is
    listed and the others go on (exit code 3). Run it again to go on
    where it stopped.
    """

    model: Annotated[Path, Positional, arg(metavar="MODEL")]
    """Model folder, written by `python -m cyclegan.export`."""
    inputs: Annotated[tuple[Path, ...], Positional, arg(metavar="INPUT ...")]
    """Volume files, DICOM series, folders of them, stores."""
    out: Path
    """Folder of the results."""
    format: Format = "same"
    """`same`: DICOM for DICOM, NIfTI for all else. DICOM is for synthetic CT only."""
    direction: Literal["mri-to-ct", "ct-to-mri"] | None = None
    """Which model of a folder that holds both; default: mri-to-ct."""
    axial: bool = False
    """Write axial slices at right angles to the patient's axes, as planning systems often want,
    and not the input's own slices."""
    deidentify: bool = False
    """In DICOM, replace the patient and all UIDs by keyed pseudonyms (OUT.key) and drop dates."""
    keep_names: bool = False
    """Name results after their inputs' files and folders. Such names may name patients. Volumes of
    a store are named by their pseudonyms either way."""
    uncertainty: bool = False
    """Also write how unsure each voxel is, in HU: the spread over mirrored and moved slices, and,
    where the model folder holds both directions, what the way back and again changes. It takes 5
    times as long, or 7 times."""
    preview: bool = False
    """Also write a picture of each result."""
    outside_body: Literal["air", "network"] = "air"
    """Outside the body's outline, -1024 HU or what the network says."""
    split: Split = "test"
    """Which subjects of a store."""
    engine: Literal["torch", "onnxruntime"] = "torch"
    """What runs the network; onnxruntime runs on the CPU, in fp32."""
    compile: bool = False
    """Compile torch's network: half a minute at first, then a large one is 1.5 times as fast."""
    precision: Precision = "fp32"
    """bf16 is faster where the hardware has it, and differs by some HU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch runs; auto: on a GPU if there is one."""
    batch_size: int = 8
    """Slices in one pass of the network; fewer take less memory."""
    overwrite: bool = False
    """Make results anew that are there already."""
    leniency: OmitArgPrefixes[Leniency] = field(default_factory=Leniency)
