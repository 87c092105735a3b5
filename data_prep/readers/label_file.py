"""Reads label files, such as those written by an external segmenter."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_labels(path: Path) -> NDArray[np.int32]:
    """Read a label file [z, y, x] in any ITK format, such as one written by a segmenter.

    Raises ValueError if it cannot be read or its values are not whole numbers.
    """
    import SimpleITK

    try:
        values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError("it is damaged or no image") from error
    labels: NDArray[np.int32] = np.rint(values).astype(np.int32)
    if labels.ndim != 3 or not np.array_equal(labels, values):
        raise ValueError("it is no volume of whole numbers")
    return labels
