"""Registers two volumes rigidly by mutual information. Arrays are [z, y, x]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.itk_image import Millimetres, Values, image_of, single_thread

_PYRAMID = ((4, 4.0), (2, 2.0), (1, 0.0))
"""Levels of a registration, coarse to fine: shrink factor, and smoothing in mm."""
_MAX_FIT_VOXELS = 100_000
"""Largest number of voxels from which the mutual information is computed."""
_MUTUAL_INFORMATION_BINS = 50
_SEARCH_MARGIN_MM = 50.0
"""Larger than any shift between scans of one session."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RigidTransform:
    """A rotation and a shift from points of the fixed volume to points of the moving one."""

    matrix: NDArray[np.float64]
    """[3, 3], a rotation, on (x, y, z) in mm from the centre of the first voxel."""
    offset_mm: NDArray[np.float64]
    """[3], (x, y, z): a point p of the fixed volume lies at `matrix` p + `offset_mm`."""
    shift_mm: float
    """Distance by which the centre of the fixed volume's body is moved."""

    @property
    def angle_degrees(self) -> float:
        """Angle of the rotation about its axis."""
        cosine = (np.trace(self.matrix) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def moved(self, moving: Values, spacing_mm: Millimetres, *, fill: float) -> NDArray[np.float32]:
        """Resample the moving volume linearly to the fixed one's grid, with `fill` outside it."""
        return self._resampled(moving.astype(np.float32), spacing_mm, fill=fill, nearest=False)

    def moved_mask(self, mask: NDArray[np.bool_], spacing_mm: Millimetres) -> NDArray[np.bool_]:
        """Resample a mask of the moving volume to the fixed one's grid, by nearest neighbour."""
        moved = self._resampled(mask.astype(np.float32), spacing_mm, fill=0, nearest=True)
        return moved > 0.5

    def _resampled(
        self, voxels: NDArray[np.float32], spacing_mm: Millimetres, *, fill: float, nearest: bool
    ) -> NDArray[np.float32]:
        import SimpleITK

        transform = SimpleITK.AffineTransform(self.matrix.ravel().tolist(), self.offset_mm.tolist())
        image = image_of(voxels, spacing_mm)
        way = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
        resampled = SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(image, image, transform, way, fill)
        )
        return np.asarray(resampled, np.float32)


def register(
    fixed: Values, moving: Values, fixed_body: NDArray[np.bool_], *, spacing_mm: Millimetres
) -> RigidTransform:
    """Return the rigid transform that maximises the mutual information inside the fixed body.

    Mutual information of Mattes et al. 2003 (IEEE TMI 22:120) in SimpleITK, with 50 bins, from a
    seeded sample of the body's voxels, by regular-step gradient descent at three scales, starting
    from the given positions. It runs in one thread, so that equal input gives equal bits. It is
    meant for scans that are a few mm and degrees apart.
    """
    import SimpleITK  # takes half a second that most commands can do without

    # Samples outside the moving volume would not count, so a shift that loses most of them could
    # score better. Therefore the border of the moving volume is repeated.
    margins = [round(_SEARCH_MARGIN_MM / mm) for mm in spacing_mm]
    roomy = np.pad(moving.astype(np.float32), [(n, n) for n in margins], mode="edge")
    dz, dy, dx = (-n * mm for n, mm in zip(margins, spacing_mm, strict=True))
    images = [
        image_of(fixed.astype(np.float32), spacing_mm),
        image_of(roomy, spacing_mm, (dz, dy, dx)),
    ]
    spacing = np.array(spacing_mm[::-1])
    middle = np.argwhere(fixed_body).mean(axis=0)[::-1] * spacing
    start = SimpleITK.Euler3DTransform(middle.tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetInitialTransform(start, inPlace=False)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_MUTUAL_INFORMATION_BINS)
    method.SetMetricFixedMask(image_of(fixed_body.astype(np.uint8), spacing_mm))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _MAX_FIT_VOXELS / fixed.size), seed=1)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.7
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # A slab of few slices is not shrunk to nothing along z: never below 8 voxels.
    shrink = [[max(1, min(by, n // 8)) for n in fixed.shape[::-1]] for by, _ in _PYRAMID]
    method.SetShrinkFactorsPerLevel([min(each) for each in shrink])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in _PYRAMID])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    with single_thread():
        found = SimpleITK.Euler3DTransform(method.Execute(*images).GetNthTransform(0))
    matrix = np.array(found.GetMatrix()).reshape(3, 3)
    offset = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    return RigidTransform(
        matrix=matrix,
        offset_mm=offset,
        shift_mm=float(np.linalg.norm(matrix @ middle + offset - middle)),
    )
