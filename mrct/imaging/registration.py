"""Rigid registration of two volumes by mutual information. Arrays are [z, y, x]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrct.imaging.itk_image import Millimetres, Values, image_of

_PYRAMID = ((4, 4.0), (2, 2.0), (1, 0.0))
"""Of a registration, coarse to fine: how often voxels are shrunk, and the smoothing in mm."""
_ENOUGH = 100_000
"""Voxels that the mutual information is taken from, where there are so many."""
_MUTUAL_INFORMATION_BINS = 50
_ROOM_MM = 50.0
"""More than scans of one sitting lie apart."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rigid:
    """A turn and a shift: where in the moving volume a point of the fixed one lies."""

    matrix: NDArray[np.float64]
    """[3, 3], a rotation, on (x, y, z) in mm from the centre of the first voxel."""
    offset_mm: NDArray[np.float64]
    """[3], (x, y, z): a point p of the fixed volume lies at `matrix` p + `offset_mm`."""
    shift_mm: float
    """How far the centre of the fixed volume's body was moved."""

    @property
    def angle_degrees(self) -> float:
        """Of the turn, about whatever axis it has."""
        cosine = (np.trace(self.matrix) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def moved(self, moving: Values, spacing_mm: Millimetres, *, fill: float) -> NDArray[np.float32]:
        """The moving volume on the fixed one's grid, linear; `fill` where it does not reach."""
        return self._resampled(moving.astype(np.float32), spacing_mm, fill=fill, nearest=False)

    def moved_mask(self, mask: NDArray[np.bool_], spacing_mm: Millimetres) -> NDArray[np.bool_]:
        """A mask of the moving volume on the fixed one's grid, by nearest neighbour."""
        moved = self._resampled(mask.astype(np.float32), spacing_mm, fill=0, nearest=True)
        return moved > 0.5

    def _resampled(
        self, voxels: NDArray[np.float32], spacing_mm: Millimetres, *, fill: float, nearest: bool
    ) -> NDArray[np.float32]:
        import SimpleITK as sitk  # noqa: N813

        transform = sitk.AffineTransform(self.matrix.ravel().tolist(), self.offset_mm.tolist())
        image = image_of(voxels, spacing_mm)
        way = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        resampled = sitk.GetArrayFromImage(sitk.Resample(image, image, transform, way, fill))
        return np.asarray(resampled, np.float32)


def registered(
    fixed: Values, moving: Values, fixed_body: NDArray[np.bool_], *, spacing_mm: Millimetres
) -> Rigid:
    """The turn and shift of `moving` that tells most of `fixed` inside its body.

    Mutual information of Mattes et al. 2003 (IEEE TMI 22:120) as SimpleITK has it, 50 bins, from a
    seeded choice of the body's voxels, by regular steps along its gradient, at three scales,
    starting from where the two lie. In one thread, so that equal input gives equal bits. Meant for
    scans that are a few mm and degrees apart.
    """
    import SimpleITK as sitk  # noqa: N813  takes half a second that most commands can do without

    # Samples that leave the moving volume would not count, and a shift that loses most of them can
    # tell more of the rest: beyond its border it goes on as it ended.
    margins = [round(_ROOM_MM / mm) for mm in spacing_mm]
    roomy = np.pad(moving.astype(np.float32), [(n, n) for n in margins], mode="edge")
    images = [image_of(fixed.astype(np.float32), spacing_mm), image_of(roomy, spacing_mm)]
    images[1].SetOrigin([-n * mm for n, mm in zip(margins, spacing_mm, strict=True)][::-1])
    spacing = np.array(spacing_mm[::-1])
    middle = np.argwhere(fixed_body).mean(axis=0)[::-1] * spacing
    start = sitk.Euler3DTransform(middle.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetInitialTransform(start, inPlace=False)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_MUTUAL_INFORMATION_BINS)
    method.SetMetricFixedMask(image_of(fixed_body.astype(np.uint8), spacing_mm))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _ENOUGH / fixed.size), seed=1)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.7
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # A slab of few slices is not shrunk to nothing along z: never below 8 voxels.
    shrink = [[max(1, min(by, n // 8)) for n in fixed.shape[::-1]] for by, _ in _PYRAMID]
    method.SetShrinkFactorsPerLevel([min(each) for each in shrink])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in _PYRAMID])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # The metric takes its threads from this global, whatever the method itself is told.
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        found = sitk.Euler3DTransform(method.Execute(*images).GetNthTransform(0))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    matrix = np.array(found.GetMatrix()).reshape(3, 3)
    offset = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    return Rigid(
        matrix=matrix,
        offset_mm=offset,
        shift_mm=float(np.linalg.norm(matrix @ middle + offset - middle)),
    )
