"""Parts, boxes and holes of masks are those of scipy's labels."""

import numpy as np
import pytest
from scipy import ndimage

from mrct.imaging.connected_components import fill_holes, largest_part, parts_where

SHAPES = [(7, 9, 11), (1, 12, 5), (6, 1, 8), (5, 7, 1), (1, 1, 1), (12, 20, 30)]


def random_mask(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise of any density, in grains or in blobs."""
    random = np.random.default_rng(seed)
    noise = random.random(shape)
    if seed % 2:
        noise = ndimage.gaussian_filter(noise, 1)
    return noise < np.quantile(noise, random.uniform(0, 1))


MASKS = [random_mask(shape, seed) for shape in SHAPES for seed in range(6)]
MASKS += [np.full((4, 5, 6), value) for value in (False, True)]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{mask.shape}-{mask.sum()}")
def test_the_largest_part_is_as_large_as_the_largest_label_and_one_of_them(mask):
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]

    found = largest_part(mask)

    assert found.sum() == max(sizes, default=0)
    if count:
        (label,) = np.unique(labels[found])
        np.testing.assert_array_equal(found, labels == label)


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{mask.shape}-{mask.sum()}")
def test_boxes_are_those_of_the_labels(mask):
    labels, _ = ndimage.label(mask)
    boxes = ndimage.find_objects(labels)
    seen = []

    def is_wide(box):
        seen.append(tuple((s.start, s.stop) for s in box))
        return box[2].stop - box[2].start > 2

    found = parts_where(mask, is_wide)

    assert sorted(seen) == sorted(tuple((s.start, s.stop) for s in box) for box in boxes)
    wide = [n + 1 for n, box in enumerate(boxes) if box[2].stop - box[2].start > 2]
    np.testing.assert_array_equal(found, np.isin(labels, wide))


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: f"{mask.shape}-{mask.sum()}")
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_holes_are_those_that_scipy_fills_in_each_slice(mask, axes):
    expected = mask.copy()
    for axis in axes:
        for there, slice_ in zip(
            np.moveaxis(expected, axis, 0), np.moveaxis(mask, axis, 0), strict=True
        ):
            there |= ndimage.binary_fill_holes(slice_)

    np.testing.assert_array_equal(fill_holes(mask, axes), expected)


def test_views_with_any_strides_are_taken_and_left_as_they_are():
    whole = random_mask((20, 24, 26), 3)
    view = whole.transpose(2, 0, 1)[::-1, ::2, 1:]
    kept = whole.copy()

    np.testing.assert_array_equal(fill_holes(view), fill_holes(np.ascontiguousarray(view)))
    np.testing.assert_array_equal(largest_part(view), largest_part(np.ascontiguousarray(view)))
    np.testing.assert_array_equal(whole, kept)
