"""Recognises that --mri and --ct were swapped, by what is refused on both sides."""

from collections import Counter
from collections.abc import Iterable

from mrct.imaging.modality import MODALITIES, Modality

_CONFLICTS = {"modality-conflict", "all-air", "negative-magnitudes"}
"""Codes that a sound volume of the other modality meets."""
SWAPPED = (
    "Most of the tried MRIs and most of the tried CTs have values of the other modality. Are --mri "
    "and --ct (or the column `modality` of the manifest) swapped?"
)


def seems_swapped(tried: Iterable[tuple[Modality, str]]) -> bool:
    """Return whether most volumes of both modalities conflict with theirs.

    `tried` holds the modality and the code of the refusal of each volume that was read; the code is
    empty for a usable one.
    """
    counts: Counter[Modality] = Counter()
    conflicts: Counter[Modality] = Counter()
    for modality, code in tried:
        counts[modality] += 1
        conflicts[modality] += code in _CONFLICTS
    return all(2 * conflicts[modality] > counts[modality] for modality in MODALITIES)
