"""Deforms a CT to lie over another one: an affine transform, then demons. Arrays are [z, y, x]."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mrct.imaging.hounsfield import AIR_HU, REGISTERED_UNIT_HU, REGISTERED_WINDOW_HU
from mrct.imaging.itk_image import Millimetres, image_of, single_thread

REGISTERED_MM = 2.4
"""Voxels are joined to at least about this size before registering: neither time nor the stiffness
of the deformation, which is smoothed by a voxel, depends on the resolution of the scans."""
_AFFINE_LEVELS = ((4, 4.8), (2, 2.4))
"""Shrink factor and smoothing in mm, coarse to fine."""
_SAMPLED = 0.04
_LEAST_SAMPLES = 2000
_DEMONS_LEVELS = ((2, 40), (1, 25))
"""Shrink factor and iterations."""
_DEMONS_SIGMA = 1.0
"""Smoothing of the displacements in each iteration, in voxels."""
_BLUR = 0.6
"""Smoothing of the moving CT, in voxels: the fixed one, which is synthetic, has softer edges."""
_BORDER_MM = 30.0
"""By how much the border slices of the moving CT are repeated: a body that its scan cuts does not
end there."""
_FEWEST_ALONG_AXIS = 8
"""Along an axis that is shrunk."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeformedCt:
    """A CT that lies over another one."""

    hu: NDArray[np.float32]
    """HU on the grid of the fixed CT, interpolated linearly."""
    seen: NDArray[np.bool_]
    """Whether the scan of the moving CT shows the voxel; elsewhere its border is continued."""
    body: NDArray[np.bool_]
    """Its body."""


def deform(
    moving: NDArray[Any],
    moving_body: NDArray[np.bool_],
    fixed: NDArray[Any],
    fixed_body: NDArray[np.bool_],
    *,
    spacing_mm: Millimetres,
    shift_mm: Millimetres = (0.0, 0.0, 0.0),
) -> DeformedCt:
    """Return a CT deformed to lie over another one.

    First 12 numbers by least squares over a seeded sample of the voxels, at two scales; then
    symmetric demons (Thirion 1998, Medical Image Analysis 2:243; Vercauteren 2009, NeuroImage
    45:S61, in SimpleITK), at two scales. Outside of the bodies both are air. It runs in one thread,
    so that equal input gives equal bits.

    Args:
        moving: HU.
        moving_body: Its body mask.
        fixed: HU of the CT that it is to lie over.
        fixed_body: Its body mask.
        spacing_mm: Voxel size (z, y, x) of both.
        shift_mm: Where a start is to look for the fixed CT's first voxel: its (z, y, x) in mm from
            the first voxel of the moving one.
    """
    import SimpleITK  # takes half a second that most commands can do without

    spacing = np.array(spacing_mm)
    border = round(_BORDER_MM / spacing_mm[0])
    ct = _continued(np.where(moving_body, moving, AIR_HU).astype(np.float32), border)
    origin = (-border * spacing_mm[0], 0.0, 0.0)
    factors = [max(1, round(REGISTERED_MM / mm)) for mm in spacing_mm]
    fixed_image = _joined(_clipped(np.where(fixed_body, fixed, AIR_HU)), spacing, factors)
    moving_image = _joined(gaussian_filter(_clipped(ct), _BLUR), spacing, factors, origin)
    air = float(_clipped(np.array(AIR_HU)))
    with single_thread():
        affine = _affine(fixed_image, moving_image, shift_mm)
        moved = SimpleITK.Resample(moving_image, fixed_image, affine, SimpleITK.sitkLinear, air)
        field = SimpleITK.DisplacementFieldTransform(_demons(fixed_image, moved))
        # The last one is applied first: from the fixed CT to where demons saw the moving one.
        whole = SimpleITK.CompositeTransform([affine, field])
        grid = image_of(np.zeros(fixed.shape, np.uint8), spacing_mm)

        def on_grid(voxels: NDArray[np.float32], start: Millimetres, fill: float) -> Any:
            image = image_of(voxels, spacing_mm, start)
            found = SimpleITK.Resample(
                image, grid, whole, SimpleITK.sitkLinear, fill, SimpleITK.sitkFloat32
            )
            return SimpleITK.GetArrayFromImage(found)

        ones = np.ones(moving.shape, np.float32)
        return DeformedCt(
            hu=on_grid(ct, origin, AIR_HU),
            seen=on_grid(ones, (0.0, 0.0, 0.0), 0.0) > 0.5,
            body=on_grid(moving_body.astype(np.float32), (0.0, 0.0, 0.0), 0.0) > 0.5,
        )


def _continued(ct: NDArray[np.float32], border: int) -> NDArray[np.float32]:
    return np.pad(ct, [(border, border), (0, 0), (0, 0)], mode="edge")


def _clipped(hu: NDArray[Any]) -> NDArray[np.float32]:
    return (hu.clip(*REGISTERED_WINDOW_HU) / REGISTERED_UNIT_HU).astype(np.float32)


def _joined(
    values: NDArray[np.float32],
    spacing: NDArray[np.float64],
    factors: list[int],
    origin_mm: Millimetres = (0.0, 0.0, 0.0),
) -> Any:
    """Return an image of smoothed values with so many voxels (z, y, x) joined to one."""
    import SimpleITK

    image = image_of(_smoothed(values, factors), tuple(spacing), origin_mm)
    return SimpleITK.Shrink(image, _possible(factors, values.shape)[::-1])


def _smoothed(values: NDArray[np.float32], factors: list[int]) -> NDArray[np.float32]:
    sigmas = [0.5 * factor if factor > 1 else 0.0 for factor in factors]
    return np.asarray(gaussian_filter(values, sigmas), np.float32)


def _possible(factors: list[int], shape: tuple[int, ...]) -> list[int]:
    """Return the factors, less where an axis would have too few voxels."""
    return [max(1, min(f, n // _FEWEST_ALONG_AXIS)) for f, n in zip(factors, shape, strict=True)]


def _affine(fixed: Any, moving: Any, shift_mm: Millimetres) -> Any:
    import SimpleITK

    size = fixed.GetSize()
    transform = SimpleITK.AffineTransform(3)
    middle = [(n - 1) / 2 for n in size]
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(middle))
    transform.SetTranslation(shift_mm[::-1])
    # A thin slab is not shrunk to nothing.
    shrink = [_possible([by] * len(size), size) for by, _ in _AFFINE_LEVELS]
    voxels = [np.prod(size) / np.prod(factors) for factors in shrink]
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(1.0, max(_SAMPLED, _LEAST_SAMPLES / count)) for count in voxels]
    method.SetMetricSamplingPercentagePerLevel(shares, seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=2e-3, numberOfIterations=60, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([min(each) for each in shrink])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in _AFFINE_LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def _demons(fixed: Any, moving: Any) -> Any:
    """Return the field of displacements in mm."""
    import SimpleITK

    field = None
    for factor, iterations in _DEMONS_LEVELS:
        pair = [_coarser(image, factor) for image in (fixed, moving)]
        demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(_DEMONS_SIGMA)
        demons.SetSmoothDisplacementField(True)
        demons.SetSmoothUpdateField(False)
        if field is None:
            field = demons.Execute(*pair)
        else:
            none = SimpleITK.Transform()
            start = SimpleITK.Resample(
                field, pair[0], none, SimpleITK.sitkLinear, 0.0, field.GetPixelID()
            )
            field = demons.Execute(*pair, start)
    return SimpleITK.Cast(field, SimpleITK.sitkVectorFloat64)


def _coarser(image: Any, factor: int) -> Any:
    import SimpleITK

    if factor == 1:
        return image
    values = gaussian_filter(SimpleITK.GetArrayFromImage(image), 0.5 * factor)
    smoothed = SimpleITK.GetImageFromArray(values)
    smoothed.CopyInformation(image)
    return SimpleITK.Shrink(smoothed, _possible([factor] * 3, image.GetSize()))
