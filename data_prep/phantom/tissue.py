"""The tissues of the synthetic head and their values for the scanners.

Relaxation at 1.5 T and proton densities: the BrainWeb simulator's table (Kwan, Evans and Pike 1999,
IEEE TMI 18:1085; `tissue_mr_parameters.txt`) for CSF, grey and white matter, fat, and muscle, whose
values also serve for skin. T2 of bone and marrow, and all of tumour and calcium: estimates.
Cortical bone: about 20 % water with a T2* near 0.4 ms (Horch et al. 2012, MRM 68:1774). Marrow: fat
among trabeculae, which shorten its T2*; teeth give no signal.
CT numbers: Buzug 2008, "Computed Tomography", and Prokop 2003 for soft tissue; skull tables,
diploe and teeth are rounded from the clinical ranges 900-1800, 300-800 and 1500-2800 HU.
"""

from dataclasses import dataclass
from enum import IntEnum


class Tissue(IntEnum):
    """Tissues of a voxel; the number is the index in `Anatomy.fractions`."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    """Compact bone: skull tables, walls of sinuses, petrous bone."""
    MARROW = 5
    """Spongy bone with its marrow: diploe, jaws, vertebrae."""
    TOOTH = 6
    CSF = 7
    """Cerebrospinal fluid; the vitreous body of the eye as well."""
    GREY = 8
    WHITE = 9
    TUMOUR = 10
    """The tissues from here on are those of oddities: no ordinary head has them."""
    CALCIUM = 11
    METAL = 12
    VOID = 13
    """Brain whose MRI signal is lost to metal nearby."""


NUM_ORDINARY = 10
"""Tissues of an ordinary head; the values of these alone vary between subjects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Mean values of one tissue for the scanners, and their spread between subjects."""

    hu: float
    """CT number in HU."""
    hu_spread: float
    """Standard deviation between subjects, in HU."""
    t1_ms: float = 1000.0
    t2star_ms: float = 1.0
    t2_ms: float = 1.0
    proton_density: float = 0.0
    """Proton density of free water or fat, relative to water."""
    agent_per_s: float = 0.0
    """Relaxation rate that a contrast agent adds: about 4.5 per s and mM (Rohrer 2005, Invest
    Radiol 40:715), at concentrations estimated here."""


CONTRAST = {
    Tissue.AIR: Contrast(hu=-1000, hu_spread=0),
    Tissue.SKIN: Contrast(
        hu=35, hu_spread=8, t1_ms=900, t2star_ms=30, t2_ms=47, proton_density=1.0, agent_per_s=0.6
    ),
    Tissue.FAT: Contrast(
        hu=-95, hu_spread=6, t1_ms=350, t2star_ms=58, t2_ms=70, proton_density=1.0
    ),
    Tissue.MUSCLE: Contrast(
        hu=55, hu_spread=4, t1_ms=900, t2star_ms=30, t2_ms=47, proton_density=1.0, agent_per_s=0.4
    ),
    Tissue.BONE: Contrast(
        hu=1350, hu_spread=100, t1_ms=220, t2star_ms=0.4, t2_ms=0.4, proton_density=0.2
    ),
    Tissue.MARROW: Contrast(
        hu=450,
        hu_spread=70,
        t1_ms=380,
        t2star_ms=15,
        t2_ms=50,
        proton_density=0.75,
        agent_per_s=0.3,
    ),
    Tissue.TOOTH: Contrast(hu=2100, hu_spread=120),
    Tissue.CSF: Contrast(
        hu=8, hu_spread=2, t1_ms=2569, t2star_ms=58, t2_ms=329, proton_density=1.0
    ),
    Tissue.GREY: Contrast(
        hu=38, hu_spread=2, t1_ms=833, t2star_ms=69, t2_ms=83, proton_density=0.86, agent_per_s=0.1
    ),
    Tissue.WHITE: Contrast(
        hu=28, hu_spread=2, t1_ms=500, t2star_ms=61, t2_ms=70, proton_density=0.77, agent_per_s=0.05
    ),
    Tissue.TUMOUR: Contrast(
        hu=44,
        hu_spread=0,
        t1_ms=1300,
        t2star_ms=60,
        t2_ms=110,
        proton_density=0.92,
        agent_per_s=2.5,
    ),
    Tissue.CALCIUM: Contrast(
        hu=420, hu_spread=0, t1_ms=800, t2star_ms=4, t2_ms=20, proton_density=0.3
    ),
    Tissue.METAL: Contrast(hu=3000, hu_spread=0),
    Tissue.VOID: Contrast(hu=35, hu_spread=0),
}
"""Values of every tissue; sources at the top of this file."""
