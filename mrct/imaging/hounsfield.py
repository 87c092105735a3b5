"""Every HU value that decides something or that a picture ends at, once, with where it comes from.

CT numbers of the synthetic head's tissues stand in the phantom, bin edges with their histograms.
"""

WINDOW_HU = (-1024.0, 3071.0)
"""What a CT is clipped to: the 12-bit range of scanners, also SynthRAD2025's for PSNR and SSIM. One
network unit is 2047.5 HU."""
SYNTHRAD2023_WINDOW_HU = (-1024.0, 3000.0)
"""What the SynthRAD2023 challenge clips to for PSNR and SSIM."""
AIR_HU = WINDOW_HU[0]
"""What lies outside a body, a scan or its padding; the air of a scanner is -1000 HU."""

# Tissues
BODY_HU = -300.0
"""Above it is body: half way between air and fat with a margin, so that skin's partial volume still
counts. Chosen here."""
CAVITY_HU = -200.0
"""Below it a voxel inside the body is air: sinuses, airways, bowel gas. Chosen here."""
SOFT_TISSUE_HU = 40.0
"""Brain and muscle, and the centre of the usual soft-tissue window."""
BONE_HU = 250.0
"""Above it is bone: between contrast-free soft tissue and spongy bone. Chosen here."""
MONITORED_BONE_HU = 300.0
"""Above it the failure monitor takes a synthetic voxel for bone. Chosen here; the monitor's bounds
were measured with it (docs/recipe.md), so it is not `BONE_HU`."""

VOID_HU = 1000.0
"""How wrong a synthetic CT may be where the MRI has no signal: half the way from air to compact
bone, the error of a guess between them. Chosen here."""

# Can numbers be HU? All chosen here; real heads and a thigh pass by far.
LOWEST_HU = -1100.0
"""Nothing is below it; such voxels become air."""
PADDING_HU = -900.0
"""Padding that is above it, and within the window, may as well be tissue."""
PARTLY_AIR_HU = -750.0
"""From here to `BODY_HU` a voxel is neither air nor tissue: few are in a CT."""
SOFT_TISSUE_LIMIT_HU = 150.0
"""Soft tissue lies within plus and minus this: most of a body does."""

# What pictures show
SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
"""Radiology's usual soft-tissue window, width 400, level 40."""
BONE_WINDOW_HU = (-450.0, 1050.0)
"""A bone window of width 1500, level 300: wide enough for fat, brain and bone."""
DIFFERENCE_WINDOW_HU = (-500.0, 500.0)
"""Of one CT less another. Chosen here."""
ERROR_WINDOW_HU = (0.0, DIFFERENCE_WINDOW_HU[1])
"""Of absolute differences."""
