"""The header fields of one DICOM frame that are used."""

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.dicom.image_facts import ImageFacts
from data_prep.readers.file_state import Stamp


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceHeader:
    """The used header fields of one frame. `repr` shows nothing that identifies a patient."""

    path: Path = field(repr=False)
    stamp: Stamp = field(repr=False)
    """The state of the file when its header was read."""
    frame: int
    """Index of the frame in the file, from 0."""
    frames: int
    """Number of frames of the file."""
    identity: str = field(repr=False)
    """PatientID and its issuer, used only as input to the keyed pseudonym."""
    person: str = field(repr=False)
    """Digest of identity, name and birth date: equal for one patient."""
    name_digest: str = field(repr=False)
    """Digest of the patient's name, as are the next two of birth date and institution: empty
    without one, and comparable within one process only."""
    birth_date_digest: str = field(repr=False)
    institution_digest: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    sop_class: str
    transfer_syntax: str
    modality: str
    facts: ImageFacts
    """How the image was made."""
    is_colour: bool
    is_lossy: bool
    """Compressed with loss, now or ever before."""
    photometric: str
    series_number: int | None
    acquisition: int | None
    images_in_acquisition: int | None
    echo_number: int | None
    stack: str
    """StackID of an enhanced object; empty in all others."""
    moment: int | None
    """Temporal position, if the header gives one."""
    cardiac_phase: float | None
    """Delay after the heartbeat in ms, or the number of the phase, if the header gives one."""
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    position: tuple[float, ...] | None
    """ImagePositionPatient, LPS mm."""
    orientation: tuple[float, ...] | None
    """ImageOrientationPatient."""
    pixel_mm: tuple[float, ...] | None
    """Distance between rows and between columns, in mm."""
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None
    """First and last stored value that mean "nothing was measured here"."""
    invalid: tuple[str, ...]
    """Attributes that decide the voxel values and have a value that is no number."""
