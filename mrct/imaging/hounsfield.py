"""HU thresholds and display windows of the whole project, each with its source.

CT numbers of the synthetic head's tissues are in the phantom, bin edges with their histograms.
"""

WINDOW_HU = (-1024.0, 3071.0)
"""Range to which a CT is clipped: the 12-bit range of scanners, also that of SynthRAD2025 for PSNR
and SSIM. One network unit is 2047.5 HU."""
SYNTHRAD2023_WINDOW_HU = (-1024.0, 3000.0)
"""Range to which the SynthRAD2023 challenge clips for PSNR and SSIM."""
AIR_HU = WINDOW_HU[0]
"""Value outside a body, a scan or its padding; the air of a scanner is -1000 HU."""

# Tissues
BODY_HU = -300.0
"""A voxel above this is body: half way between air and fat with a margin, so that the partial
volume of skin is included. Chosen here."""
CAVITY_HU = -200.0
"""A voxel inside the body below this is air: sinuses, airways, bowel gas. Chosen here."""
SOFT_TISSUE_HU = 40.0
"""Brain and muscle, and the centre of the usual soft-tissue window."""
BONE_HU = 250.0
"""A voxel above this is bone: between unenhanced soft tissue and spongy bone. Chosen here."""
MONITORED_BONE_HU = 300.0
"""The failure monitor takes a synthetic voxel above this for bone. Chosen here; the monitor's
bounds were measured with it (docs/recipe.md), so it is not `BONE_HU`."""

VOID_HU = 1000.0
"""Expected error of a synthetic CT where the MRI has no signal: half way from air to compact bone,
the error of a guess between them. Chosen here."""

# Plausibility of HU. All chosen here; real heads and a thigh pass by a wide margin.
LOWEST_HU = -1100.0
"""Values below this are impossible; such voxels become air."""
PADDING_HU = -900.0
"""Padding above this, and within the window, could be tissue."""
PARTLY_AIR_HU = -750.0
"""A voxel from here to `BODY_HU` is neither air nor tissue; a CT has few of them."""
SOFT_TISSUE_LIMIT_HU = 150.0
"""Soft tissue, which is most of a body, lies within plus and minus this."""

# Display windows
SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
"""Radiology's usual soft-tissue window, width 400, level 40."""
BRAIN_WINDOW_HU = (0.0, 80.0)
"""Radiology's usual brain window, width 80, level 40."""
BONE_WINDOW_HU = (-450.0, 1050.0)
"""A bone window of width 1500, level 300: wide enough for fat, brain and bone."""
FINE_HU = (-200.0, 300.0)
"""Soft tissue with a margin: what an 8-bit image of a CT shows in fine steps. Chosen here."""
DIFFERENCE_WINDOW_HU = (-500.0, 500.0)
"""Window for the difference of two CTs. Chosen here."""
REGISTERED_WINDOW_HU = (-1000.0, 1100.0)
"""For registering CTs: teeth and metal beyond it would outweigh all else."""
REGISTERED_UNIT_HU = 400.0
"""Differences are divided by it then; demons take their step from them."""
ERROR_WINDOW_HU = (0.0, DIFFERENCE_WINDOW_HU[1])
"""Window for absolute differences."""
