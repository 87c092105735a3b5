"""The tags that a synthetic DICOM series copies: patient, study and frame of its source, or none.

Tags are copied by an allow-list, and only here: patient text goes from a source's header to its
synthetic series and nowhere else. `deidentify` replaces it, and every UID, consistently for all
series of one key.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import validate_value

from data_prep.convert.pseudonyms import Key
from data_prep.dicom.files import read_tags
from data_prep.dicom.series import Series, stack_of
from data_prep.dicom.tags import plain_name

# fmt: off
PATIENT = ["PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"]
STUDY = [
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
]
PLACE = [
    "FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined",
    "Laterality",
]
OTHER = ["SpecificCharacterSet", "SeriesNumber"]
# Must be present, but may be empty (type 2 of PS3.3).
EMPTY = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator",
    "PatientPosition",
]
# Values kept when de-identifying: codes of the standard (PS3.3 C.7.3.1.1.2, PS3.16 annex L),
# since any other text in these tags may be about the patient.
_HARMLESS = {
    "PatientPosition": ["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"],
    "BodyPartExamined": [
        "HEAD", "BRAIN", "NECK", "HEADNECK", "CHEST", "ABDOMEN", "PELVIS", "PROSTATE", "SPINE",
        "CSPINE", "TSPINE", "LSPINE", "BREAST", "HIP", "THIGH", "LEG", "KNEE", "FOOT", "ARM",
        "SHOULDER", "HAND", "EXTREMITY", "WHOLEBODY",
    ],
    "Laterality": ["L", "R"],
}
# fmt: on
_LENGTHS = {"SH": 16, "LO": 64}
_UID_BYTES = 16
"""Bytes of a UID below 2.25, the arc of UUIDs (PS3.5 B.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One source image."""

    sop_class: str
    sop_instance: str = field(repr=False)
    frame: int | None
    """Frame number, from 1, in a multi-frame file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Patient, study and source images of a synthetic series."""

    tags: Dataset = field(repr=False)
    """Tags of patient, study and frame of reference, with all that their modules require."""
    references: tuple[tuple[Reference, ...], ...] = field(repr=False)
    """Images at each position of the source stack; empty if the source was not DICOM."""


def origin_of_series(series: Series) -> Origin:
    """Return patient, study, frame of reference and images of a DICOM series; raises
    VolumeError."""
    wanted = PATIENT + STUDY + PLACE
    found = read_tags(series.headers[0].path, wanted + OTHER)
    instances = {
        path: str(read_tags(path, ["SOPInstanceUID"]).get("SOPInstanceUID", ""))
        for path in dict.fromkeys(header.path for header in series.headers)
    }
    references = tuple(
        tuple(
            Reference(
                sop_class=header.sop_class,
                sop_instance=instances[header.path],
                frame=header.frame + 1 if header.frames > 1 else None,
            )
            for header in (series.headers[index] for index in place)
            if instances[header.path]
        )
        for place in stack_of(series).places
    )
    tags = Dataset()
    for keyword in [*wanted, *OTHER]:
        if keyword in found:
            tags.add(_valid(found[keyword]))
    return Origin(tags=_complete(tags), references=references)


def origin_of_file(name: str) -> Origin:
    """Return a new study and patient for a volume without them; `name` is a pseudonym."""
    tags = Dataset()
    tags.PatientName, tags.PatientID = f"Synthetic^{name}", name
    return Origin(tags=_complete(tags), references=())


def deidentify(origin: Origin, key: Key) -> Origin:
    """Return an origin without identifying tags: pseudonyms, new UIDs, no dates.

    With the same `key`, UIDs and patients of a source always get the same replacements, so that
    series of a study stay together; they cannot be traced back without the key.
    """
    old, tags = origin.tags, Dataset()
    name = key.pseudonym("patient", _identity(old))
    tags.PatientName, tags.PatientID = f"Anonymous^{name}", name
    for keyword, codes in _HARMLESS.items():
        if old.get(keyword) in codes:
            tags.add(old[keyword])
    tags.StudyInstanceUID = uid_for(key, str(old.StudyInstanceUID))
    tags.FrameOfReferenceUID = uid_for(key, str(old.FrameOfReferenceUID))
    if "SeriesNumber" in old:
        tags.SeriesNumber = old.SeriesNumber
    tags.PatientIdentityRemoved = "YES"
    tags.DeidentificationMethod = "All but geometry left out; UIDs replaced, keyed"
    tags.LongitudinalTemporalInformationModified = "REMOVED"
    references = tuple(
        tuple(replace(each, sop_instance=uid_for(key, each.sop_instance)) for each in place)
        for place in origin.references
    )
    return Origin(tags=_complete(tags), references=references)


def _identity(tags: Dataset) -> str:
    """Return what tells the patient apart: the ID with issuer, name and birth date, because several
    people may share a placeholder; without an ID the study."""
    texts = {keyword: str(tags.get(keyword) or "").strip() for keyword in PATIENT}
    if not texts["PatientID"]:
        return f"study\0{tags.StudyInstanceUID}"
    name = plain_name(texts["PatientName"])
    decisive = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
    return "\0".join([*(texts[keyword] for keyword in decisive), name])


def uid_for(key: Key, uid: str) -> UID:
    """Return the UID that replaces another under a key: 128 bits of its HMAC below 2.25."""
    digest = hmac.digest(key.secret, f"uid\0{uid}".encode(), "sha256")
    return UID(f"2.25.{int.from_bytes(digest[:_UID_BYTES], 'big')}")


def _valid(element: DataElement) -> DataElement:
    """Return an element that is valid for its type: long texts are cut, invalid values are left
    empty.

    UIDs are unchanged, so that the series stays in its study.
    """
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    try:
        for value in values:
            validate_value(element.VR, value, RAISE)
    except ValueError:
        length = _LENGTHS.get(element.VR)
        text = str(values[0])
        if element.VR != "UI":
            return DataElement(element.tag, element.VR, text[:length] if length else None)
    return element


def _complete(tags: Dataset) -> Dataset:
    """Return the tags with those that the modules require, empty if unknown."""
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not tags.get(keyword):
            setattr(tags, keyword, generate_uid(prefix=None))
    for keyword in EMPTY:
        if keyword not in tags:
            setattr(tags, keyword, None)
    if not tags.get("BodyPartExamined") and "Laterality" not in tags:
        tags.Laterality = None  # required unless the body part rules out a side
    return tags


def images_at(origin: Origin, index: int, total: int) -> Sequence[Reference]:
    """Return the source images of slice `index` of `total`: those at its position, if there are as
    many.

    If the slices do not correspond, all source images are returned.
    """
    if len(origin.references) == total:
        return origin.references[index]
    return [each for place in origin.references for each in place]
