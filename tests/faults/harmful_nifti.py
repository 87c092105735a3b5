"""NIfTI files that must not pass: damaged streams, headers that lie, numbers that mean nothing."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.faults.case import Case
from tests.support.series import values

AFFINE = np.array([[-0.8, 0, 0, 8], [0, -0.9, 0, -10], [0, 0, 3, -90], [0, 0, 0, 1.0]])


def image_of(modality: str = "CT", voxels: np.ndarray | None = None, dtype: Any = np.int16) -> Any:
    """The volume of the DICOM series as nibabel writes it."""
    voxels = values(modality) if voxels is None else voxels
    image = nibabel.Nifti1Image(voxels.transpose().astype(dtype), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    return image


def packed(what: str, code: str, content: Callable[[bytes], bytes]) -> Case:
    """A compressed file with damage."""

    def make(folder: Path) -> None:
        whole = gzip.compress(image_of().to_bytes(), mtime=0)
        (folder / "a.nii.gz").write_bytes(content(whole))

    return Case(what=what, code=code, make=make)


def plain(what: str, code: str, content: Callable[[bytearray], object]) -> Case:
    """An uncompressed file with bytes changed."""

    def make(folder: Path) -> None:
        whole = bytearray(image_of().to_bytes())
        changed = content(whole)
        (folder / "a.nii").write_bytes(changed if isinstance(changed, bytes) else whole)

    return Case(what=what, code=code, make=make)


def field(what: str, code: str, **fields: Any) -> Case:
    """A file with header fields set, whatever nibabel thinks of them."""

    def content(whole: bytearray) -> None:
        header = nibabel.Nifti1Header(bytes(whole[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        whole[:348] = header.binaryblock

    return plain(what, code, content)


def voxels(
    what: str, code: str, array: np.ndarray, modality: str = "CT", dtype: Any = np.float32
) -> Case:
    """A sound file with other voxels [z, y, x]."""
    return Case(
        what=what,
        code=code,
        make=lambda folder: image_of(voxels=array, dtype=dtype).to_filename(folder / "a.nii"),
        modality=modality,
    )


def marked(value: float) -> np.ndarray:
    """The CT with one voxel of this value."""
    array = values("CT").astype(np.float32)
    array[3, 20, 18] = value
    return array


def sform_row(number: float) -> Callable[[bytearray], None]:
    """An sform whose first row is this number."""

    def content(whole: bytearray) -> None:
        whole[280:296] = np.full(4, number, "<f4").tobytes()

    return content


CASES = [
    packed(
        "a gzip stream with one flipped bit (checksum)",
        "gzip-damaged",
        lambda whole: whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:],
    ),
    packed("a gzip stream cut off", "gzip-damaged", lambda whole: whole[:-100]),
    packed("a .nii.gz that is not gzip", "gzip-damaged", lambda whole: gzip.decompress(whole)),
    packed("an empty .nii.gz", "header-damaged", lambda whole: b""),
    packed(
        "a gzip bomb: 2 kB that claim 3 GB",
        "header-damaged",
        # Filled up, since compressors differ by some bytes and the page tells the size.
        lambda whole: gzip.compress(claiming(gzip.decompress(whole), 1200)).ljust(2000, b"\0"),
    ),
    plain("a file cut off in its voxels", "header-damaged", lambda whole: bytes(whole[:-1000])),
    plain("a file cut off in its header", "header-damaged", lambda whole: bytes(whole[:200])),
    plain("a file of text", "header-damaged", lambda whole: b"path,modality\n" * 40),
    field("a dimension of -8", "header-damaged", dim=[3, -8, 40, 36, 1, 1, 1, 1]),
    field("dim 100 times larger than the file", "header-damaged", dim=[3, 360, 400, 8, 1, 1, 1, 1]),
    field("the magic of a pair of files", "detached-data", magic=b"ni1"),
    field("a voxel offset within the header", "header-damaged", vox_offset=100),
    field("an unknown datatype", "voxel-type", datatype=17),
    field("sform_code and qform_code 0", "no-affine", sform_code=0, qform_code=0),
    field("lengths in microns", "unit", xyzt_units=3),
    plain("NaN in the affine", "affine-unusable", sform_row(np.nan)),
    plain("an affine without volume", "affine-unusable", sform_row(0)),
    Case(
        what="two time points (4-D)",
        code="not-3d",
        make=lambda folder: nibabel.Nifti1Image(
            np.stack([values("CT").transpose()] * 2, axis=3).astype(np.int16), AFFINE
        ).to_filename(folder / "a.nii"),
    ),
    Case(
        what="complex voxels",
        code="voxel-type",
        make=lambda folder: nibabel.Nifti1Image(
            values("MR").transpose().astype(np.complex64), AFFINE
        ).to_filename(folder / "a.nii"),
        modality="MR",
    ),
    voxels("a NaN voxel", "not-finite", marked(np.nan)),
    voxels("an infinite voxel", "not-finite", marked(np.inf)),
    voxels("one value everywhere", "constant", np.full(values("CT").shape, -1000)),
    voxels("a CT of air", "all-air", values("CT") // 100 - 1000),
    voxels("a CT without its rescale", "modality-conflict", values("CT") + 1024),
    voxels("halved HU", "modality-conflict", values("CT") // 2),
    voxels("an MR given as CT", "modality-conflict", values("MR")),
    voxels("a CT given as MR", "modality-conflict", values("CT"), "MR"),
    voxels(
        "an MR in which one number overflowed",
        "negative-magnitudes",
        np.where(np.arange(36) + np.arange(40)[:, None] == 0, -32768, values("MR")),
        "MR",
    ),
    voxels(
        "an MR standardised inside the head, with 0 outside",
        "standardised",
        np.where(values("MR") < 100, 0, (values("MR") - 330) / 17.3),
        "MR",
    ),
    voxels("an MR with its contrast inverted", "no-outline", 400 - values("MR"), "MR"),
    field("a slope of infinity", "slope", scl_slope=np.inf),
    field("a slope of NaN with a shift", "slope", scl_slope=np.nan, scl_inter=-1000),
    field("voxel sizes of 0 (pixdim)", "pixdim", pixdim=[1, 0, 0.9, 3, 0, 0, 0, 0]),
    field(
        "voxel sizes in metres, and no unit (without sform)",
        "extent-implausible",
        sform_code=0,
        xyzt_units=0,
        pixdim=[-1, 0.0008, 0.0009, 0.003, 0, 0, 0, 0],
    ),
    field(
        "a flipped bit in a voxel size (without sform)",
        "extent-implausible",
        sform_code=0,
        pixdim=[-1, 0.8, 0.9, 3 * 2.0**64, 0, 0, 0, 0],
    ),
    field("sform and qform that differ", "affine-conflict", qoffset_x=20),
]


def claiming(whole: bytes, size: int) -> bytes:
    """The file with a header that tells of size^3 voxels."""
    header = nibabel.Nifti1Header(whole[:348], check=False)
    header["dim"] = [3, size, size, size, 1, 1, 1, 1]
    return header.binaryblock + whole[348:]
