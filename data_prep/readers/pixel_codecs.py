"""Decodes compressed DICOM pixels with imagecodecs, as a plugin of pydicom's decoders.

One library under a permissive licence (BSD) with libjpeg-turbo for JPEG, lossless too, CharLS for
JPEG-LS and OpenJPEG 2.5.4 for JPEG 2000: older ones overflow on crafted files. RLE is pydicom's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

PLUGIN = "imagecodecs"
_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_FUNCTIONS: dict[UID, str] = {
    **dict.fromkeys(_JPEG, "jpeg8_decode"),
    **dict.fromkeys(_JPEG_LS, "jpegls_decode"),
    **dict.fromkeys(_JPEG_2000, "jpeg2k_decode"),
}
"""By transfer syntax: the function of imagecodecs."""


def is_available(syntax: str) -> bool:
    """Return whether this plugin decodes a transfer syntax; pydicom asks."""
    return syntax in _FUNCTIONS


def plugin_of(syntax: UID) -> str:
    """Return the name of the plugin that decodes a transfer syntax; empty: pydicom's choice."""
    return PLUGIN if syntax in _FUNCTIONS else ""


def decode_frame(codestream: bytes, runner: DecodeRunner) -> bytes:
    """Return the pixels of a frame; the container's size is that of the codestream's precision."""
    pixels = _function(_FUNCTIONS[runner.transfer_syntax])(codestream)
    if pixels.shape != (runner.rows, runner.columns):  # colours are refused by their header
        raise ValueError("the codestream has another matrix than the header")
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    return pixels.tobytes()


def load() -> None:
    """Load the library now, which it would otherwise do at the first frame (0.2 s)."""
    for name in {*_FUNCTIONS.values()}:
        _function(name)


def _function(name: str) -> Callable[[bytes], NDArray[np.generic]]:
    import imagecodecs  # no command needs it before a frame is decoded

    function: Callable[[bytes], NDArray[np.generic]] = getattr(imagecodecs, name)
    return function


for _syntax in _FUNCTIONS:
    get_decoder(_syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))
