"""Compresses the pixels of DICOM slices: RLE by pydicom, the JPEG family by imagecodecs."""

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

_ENCODERS = {
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=0, reversible=True, codecformat="J2K"
    ),
    JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(
        pixels, lossless=True, predictor=1, bitspersample=16
    ),
    JPEGLSLossless: imagecodecs.jpegls_encode,
}
COMPRESSED = {
    "RLE": RLELossless,
    "lossless JPEG 2000": JPEG2000Lossless,
    "lossless JPEG": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
}
"""Transfer syntaxes without loss that `compress` writes, by name."""


def compress(dataset: Dataset, syntax: UID) -> None:
    """Compress the 16-bit pixels of one slice, in place."""
    if syntax == RLELossless:
        dataset.compress(syntax)
        return
    pixels = np.frombuffer(dataset.PixelData, np.dtype("u2")).reshape(dataset.Rows, dataset.Columns)
    if syntax == JPEG2000Lossless and dataset.PixelRepresentation:
        pixels = pixels.view("i2")
    dataset.PixelData = encapsulate([_ENCODERS[syntax](np.ascontiguousarray(pixels))])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
