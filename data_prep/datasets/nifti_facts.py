"""What kind of image a volume file holds, from its BIDS sidecar or its BIDS name.

A file says nothing of this itself. A sidecar gives the facts of a DICOM header, with times in
seconds; a name gives its suffix. A cohort of phantoms has its own file in the folder above. Without
any of them the kind is unknown.
"""

import json
import re
from pathlib import Path
from typing import Any

from data_prep.dicom.image_facts import ImageFacts, image_facts
from data_prep.dicom.image_kind import (
    PHANTOM,
    PHANTOM_ORIGIN,
    ImageKind,
    kind_of,
    not_anatomy,
)
from data_prep.readers.formats import stem_of
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality

_MOST_BYTES = 4 << 20
_PHANTOM_NAME = re.compile(r"phantom-\d{4,}")
"""What a cohort calls its files: others that lie beside them may be of people."""
_IN_SECONDS = ("EchoTime", "RepetitionTime", "InversionTime")
_KIND_OF_BIDS_SUFFIX: dict[str, ImageKind] = {
    "t1w": "T1w",
    "t2w": "T2w",
    "flair": "FLAIR",
    "pdw": "PDw",
    "dwi": "DWI",
    "swi": "SWI",
    "angio": "TOF",
}
"""Suffixes of BIDS 1.9 that are kinds of ours, in lower case, since many write T1W."""


def file_facts(path: Path, modality: Modality) -> tuple[ImageKind, ImageFacts, VolumeError | None]:
    """Return the kind of a volume file, its facts, and why it shows no anatomy, or None."""
    name = stem_of(path.name)
    facts = _sidecar_facts(path.with_name(f"{name}.json"))
    if _PHANTOM_NAME.fullmatch(name) and (path.parent.parent / PHANTOM_ORIGIN).is_file():
        return PHANTOM, facts, None
    kind = kind_of(facts, modality) if facts != ImageFacts() else "unknown"
    if kind == "unknown":
        kind = _kind_of_name(name, modality)
    return kind, facts, not_anatomy(facts)


def _kind_of_name(name: str, modality: Modality) -> ImageKind:
    *entities, suffix = name.split("_")
    has_agent = any(entity.startswith("ce-") for entity in entities)
    if modality == "ct":
        return "contrast" if has_agent else "unknown"
    kind = _KIND_OF_BIDS_SUFFIX.get(suffix.lower(), "unknown")
    return "T1w-contrast" if kind == "T1w" and has_agent else kind


def _sidecar_facts(path: Path) -> ImageFacts:
    """Return the facts of a sidecar; none if it is absent, too large or no JSON object."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return ImageFacts()
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ImageFacts()
    if not isinstance(found, dict):
        return ImageFacts()
    return image_facts(lambda keyword: _in_dicom(keyword, found))


def _in_dicom(keyword: str, sidecar: dict[str, Any]) -> Any:
    """Return a value as a DICOM header has it: in ms, and with the agent under its own name."""
    if keyword == "ContrastBolusAgent":
        return sidecar.get("ContrastBolusIngredient") or sidecar.get(keyword)
    value = sidecar.get(keyword)
    if keyword in _IN_SECONDS and isinstance(value, int | float):
        return 1000 * value
    if keyword in ("ScanningSequence", "SequenceVariant", "ScanOptions") and isinstance(value, str):
        return value.split("_")
    return value
