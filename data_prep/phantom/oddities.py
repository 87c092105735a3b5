"""Heads that are not average: what surgery, disease, age and pose change.

An oddity changes a subject's parameters, or lays tissues over those of an ordinary head and marks
the region in which scores may be taken. Positions are in the template space of `anatomy`, in mm;
sizes are of the order of clinical ones, chosen here.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_prep.phantom.person import Subject
from data_prep.phantom.settings import Oddity
from data_prep.phantom.shapes import (
    Array,
    Capsule,
    Ellipsoid,
    PhantomFrame,
    Shape,
    mirror_shape,
)
from data_prep.phantom.tissue import Tissue

REGION_MARGIN_MM = 4.0
"""Around what is odd, so that its outline counts too."""
FLAP = Ellipsoid((62, 4, 44), (34, 36, 32))
"""A craniectomy of the right side, where skin lies on the brain."""
BURR_HOLE = Capsule((28, 28, 50), (62, 76, 112), 7)
SINUSES: list[Shape] = [
    Ellipsoid((25, 48, -63), (15, 18, 19)),
    Ellipsoid((11, 81, -6), (12, 5.5, 13)),
    Ellipsoid((8, 15, -38), (8, 12, 10)),
]
"""Maxillary, frontal and sphenoid of the right side, with a margin; only their air fills up."""
CALCIFIED: list[Shape] = [
    Ellipsoid((0, -33, 2), (4, 4, 4)),
    *mirror_shape(Ellipsoid((22, 5, 2), (4, 8, 6))),
]
"""The pineal gland and the globi pallidi."""
TUMOUR = Ellipsoid((32, -18, 32), (18, 20, 17))
NECROSIS = Ellipsoid((33, -19, 32), (8, 9, 7))
CLIP = Capsule((14, 10, -8), (20, 16, -4), 1.6)
SIGNAL_VOID = Ellipsoid((17, 13, -6), (10, 10, 10))
"""In an MRI, metal takes the signal far around itself."""


def odd_subject(subject: Subject, oddity: Oddity) -> Subject:
    """Return the subject with an oddity."""
    subject = replace(subject, oddity=oddity)
    match oddity:
        case "thick-skull":
            return replace(subject, skull_mm=2 * subject.skull_mm, table_mm=2.6)
        case "thin-skull":
            return replace(subject, skull_mm=3.2, table_mm=1.0)
        case "tilt":
            return replace(subject, turn_deg=(20.0, 9.0, -12.0))
        case "child":  # of about two years: a large skull, a small face
            return replace(
                subject,
                scale=(0.86, 0.85, 0.84),
                skull_mm=3.6,
                table_mm=1.1,
                fat_mm=2.5,
                sinus_scale=0.45,
                ventricle_scale=0.8,
            )
        case _:
            return subject


def odd_layers(
    oddity: Oddity, space: PhantomFrame, vault: Array, air: Array
) -> Iterator[tuple[Tissue, Array]]:
    """Yield (tissue, signed distance in mm) of what lies over an ordinary head, front layer first.

    Args:
        oddity: the subject's.
        space: where the voxels are.
        vault: [z, y, x], distance to the bone around the brain.
        air: [z, y, x], distance to the air of sinuses and airways.
    """
    match oddity:
        case "bone-flap":
            yield Tissue.MUSCLE, np.maximum(space.union([FLAP]), vault)
        case "burr-hole":
            yield Tissue.CSF, np.maximum(space.union([BURR_HOLE]), vault)
        case "opaque-sinus":
            yield Tissue.CSF, np.maximum(space.union(SINUSES), air)
        case "calcification":
            yield Tissue.CALCIUM, space.union(CALCIFIED)
        case "tumour":
            yield Tissue.CSF, space.union([NECROSIS])
            yield Tissue.TUMOUR, space.union([TUMOUR])
        case "metal-clip":
            yield Tissue.METAL, space.union([CLIP])
            yield Tissue.VOID, space.union([SIGNAL_VOID])


def odd_region(oddity: Oddity, space: PhantomFrame) -> NDArray[np.bool_] | None:
    """Return where the oddity is, with a margin, [z, y, x]; None if it is everywhere."""
    shapes: dict[Oddity, list[Shape]] = {
        "bone-flap": [FLAP],
        "burr-hole": [BURR_HOLE],
        "opaque-sinus": SINUSES,
        "calcification": CALCIFIED,
        "tumour": [TUMOUR],
        "metal-clip": [SIGNAL_VOID],
    }
    if oddity not in shapes:
        return None
    near = space.union(shapes[oddity], margin=REGION_MARGIN_MM + 2)
    return np.asarray(near < REGION_MARGIN_MM)
