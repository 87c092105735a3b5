"""Corrects the bias field of MRI (N4). Arrays are [z, y, x]."""

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.itk_image import image_of

_SHRUNK_MM = 4.0
"""The field is fitted on voxels of about this size, because it is far smoother."""
_MIN_RELATIVE_INTENSITY = 1e-3
"""Lower bound of voxels as a fraction of the brightest, because N4 works on logarithms."""


def correct_bias(
    voxels: NDArray[np.float32] | NDArray[np.int16],
    body: NDArray[np.bool_],
    *,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Divide an MRI [z, y, x] by its bias field, the smooth brightness variation of the coils.

    N4 (Tustison et al. 2010, IEEE TMI 29:1310) with SimpleITK's defaults: 4 levels of at most 50
    iterations, starting from 4 control points per axis, convergence 0.001, Wiener noise 0.01, FWHM
    0.15, 200 bins; fitted inside the body on voxels shrunk to about 4 mm, in one thread, so that
    equal input gives equal bits. The mean logarithm of the field inside the body is 0, so that the
    unit stays.
    """
    import SimpleITK  # takes half a second that most commands can do without

    shrink = [max(1, round(_SHRUNK_MM / mm)) for mm in spacing_mm[::-1]]
    least = max(
        float(voxels[body].max()) * _MIN_RELATIVE_INTENSITY, float(np.finfo(np.float32).tiny)
    )
    image = image_of(np.maximum(voxels, np.float32(least)), spacing_mm)
    mask = image_of(body.astype(np.uint8), spacing_mm)
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(mask, shrink))
    field = SimpleITK.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    inside = field[body]
    # Far from the body the spline is unconstrained, and air must not become bright.
    field = (field - inside.mean()).clip(inside.min() - inside.mean(), inside.max() - inside.mean())
    return np.asarray(voxels * np.exp(-field), np.float32)
