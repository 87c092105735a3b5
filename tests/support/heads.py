"""A synthetic head for tests that look at anatomy or at what scanners make of it."""

import numpy as np

from data_prep.phantom.anatomy import Anatomy
from data_prep.phantom.tissue import Tissue

SPACING_MM = 3.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def pure(anatomy: Anatomy, tissue: Tissue) -> np.ndarray:
    """Voxels that hold nothing but one tissue; thin tissues are taken where they prevail."""
    threshold = 0.999 if tissue not in (Tissue.SKIN, Tissue.BONE, Tissue.MARROW) else 0.8
    return anatomy.fractions[tissue] > threshold
