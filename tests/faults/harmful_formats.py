"""MHA and NRRD files that must not pass; `test_formats.py` has many more."""

import bz2
from pathlib import Path

import numpy as np
import SimpleITK

from tests.faults.case import Case
from tests.support.series import PIXEL_MM, STEP_MM, values


def image_of(voxels: np.ndarray | None = None) -> SimpleITK.Image:
    """The volume of the DICOM series as SimpleITK holds it."""
    voxels = values("CT") if voxels is None else voxels
    image = SimpleITK.GetImageFromArray(voxels.astype(np.int16))
    image.SetSpacing((PIXEL_MM[1], PIXEL_MM[0], STEP_MM))
    image.SetOrigin((-8, 10, -90))
    return image


def edited(what: str, code: str, suffix: str, old: bytes, new: bytes) -> Case:
    """A file of SimpleITK's with a part of its header replaced."""

    def make(folder: Path) -> None:
        path = folder / f"a{suffix}"
        SimpleITK.WriteImage(image_of(), path)
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))

    return Case(what=f"{suffix}: {what}", code=code, make=make)


def cut(what: str, code: str, suffix: str, *, packed: bool) -> Case:
    """A file without its last 100 bytes."""

    def make(folder: Path) -> None:
        path = folder / f"a{suffix}"
        SimpleITK.WriteImage(image_of(), path, useCompression=packed)
        path.write_bytes(path.read_bytes()[:-100])

    return Case(what=f"{suffix}: {what}", code=code, make=make)


def bzip2(folder: Path, keep: int | None = None) -> None:
    """An NRRD whose voxels are a bzip2 stream, of which the last bytes may lack."""
    path = folder / "a.nrrd"
    SimpleITK.WriteImage(image_of(), path)
    head, _, raw = path.read_bytes().partition(b"\n\n")
    head = head.replace(b"encoding: raw", b"encoding: bzip2")
    path.write_bytes(head + b"\n\n" + bz2.compress(raw)[:keep])


def voxels(what: str, code: str, suffix: str, array: np.ndarray) -> Case:
    """A sound file with other voxels [z, y, x]."""
    return Case(
        what=f"{suffix}: {what}",
        code=code,
        make=lambda folder: SimpleITK.WriteImage(image_of(array), folder / f"a{suffix}"),
    )


CASES = [
    Case(
        what=".nrrd: a bzip2 stream cut off",
        code="bzip2-damaged",
        make=lambda folder: bzip2(folder, -100),
    ),
    cut("a file cut off in its voxels", "header-damaged", ".mha", packed=False),
    cut("a compressed file cut off", "zlib-damaged", ".mha", packed=True),
    cut("a compressed file cut off", "gzip-damaged", ".nrrd", packed=True),
    edited("sizes beyond the file", "header-damaged", ".mha", b"= 36 40 8", b"= 36 40 9"),
    edited("a negative spacing", "header-damaged", ".mha", b"Spacing = 0.8", b"Spacing = -0.8"),
    edited("voxels of 3 m", "extent-implausible", ".mha", b"Spacing = 0.8", b"Spacing = 3000.8"),
    edited("unknown axes", "no-affine", ".mha", b"TransformMatrix", b"Unknown"),
    edited("voxels in another file", "detached-data", ".mha", b"= LOCAL", b"= a.raw"),
    edited("sizes beyond the file", "header-damaged", ".nrrd", b": 36 40 8", b": 36 40 9"),
    edited("an unknown space", "no-affine", ".nrrd", b"left-posterior", b"scanner-xyz"),
    edited("voxels in another file", "detached-data", ".nrrd", b"\n\n", b"\ndata file: a.raw\n\n"),
    voxels("halved HU", "modality-conflict", ".mha", values("CT") // 2),
    voxels("halved HU", "modality-conflict", ".nrrd", values("CT") // 2),
]
