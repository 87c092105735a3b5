"""The facts of a found volume that `--mri-where` compares and that the table of kinds shows."""

from typing import Any

import numpy as np

from data_prep.datasets.dataset import FoundVolume
from data_prep.dicom.series import Series, stack_of
from mrct.imaging.volume import PLANES

_LEAST_COSINE = 0.8
"""Below it a plane is called oblique: it is turned by 37 degrees or more."""


def facts_of(volume: FoundVolume) -> dict[str, Any]:
    """Return the facts of a volume by the names of `FACT_NAMES`; unknown ones are None."""
    facts = volume.facts
    return {
        "kind": volume.kind,
        "EchoTime": facts.echo_ms,
        "RepetitionTime": facts.repetition_ms,
        "InversionTime": facts.inversion_ms,
        "FlipAngle": facts.flip_degrees,
        "BValue": facts.b_value,
        "SliceThickness": facts.thickness_mm,
        "Acquisition": facts.acquisition or None,
        "Sequence": facts.sequence,
        "Variant": facts.variant,
        "Options": facts.options,
        "ImageType": facts.image_type,
        "contrast": facts.has_agent,
        "derived": "DERIVED" in facts.image_type,
        "angio": facts.is_angio,
    } | (_geometry(volume.series) if volume.series else {})


def _geometry(series: Series) -> dict[str, Any]:
    """Return the facts about the grid; none if the headers do not place the slices."""
    first = series.headers[0] if series.headers else None
    if first is None or first.pixel_mm is None or series.error:
        return {}
    stack = stack_of(series)
    along = np.abs(stack.normal)
    return {
        "Slices": float(len(stack.places)),
        "Spacing": float(np.median(stack.gaps_mm)) if len(stack.places) > 1 else None,
        "Rows": float(first.rows),
        "Columns": float(first.columns),
        "PixelSpacing": float(first.pixel_mm[0]),
        "Plane": PLANES[int(along.argmax())] if along.max() >= _LEAST_COSINE else "oblique",
    }


def description_of(volume: FoundVolume) -> str:
    """Return what the table shows of an example: plane, grid and timing, without a name."""
    facts = facts_of(volume)
    parts = []
    if facts.get("Slices"):
        spacing, pixel = facts["Spacing"] or 0, facts["PixelSpacing"]
        parts.append(
            f"{facts['Plane']} {facts['Slices']:.0f} x {facts['Rows']:.0f} x "
            f"{facts['Columns']:.0f} of {spacing:.3g} x {pixel:.2g} mm"
        )
    for name, unit in (("TE", "EchoTime"), ("TR", "RepetitionTime"), ("TI", "InversionTime")):
        if facts[unit] is not None:
            parts.append(f"{name} {facts[unit]:.4g} ms")
    if facts["BValue"] is not None:
        parts.append(f"b {facts['BValue']:.0f}")
    parts += [facts["Acquisition"] or "", "contrast agent" if facts["contrast"] else ""]
    return ", ".join(filter(None, parts))
