"""NIfTI files to volumes and back. The home of nibabel; it knows nothing of stores or subjects."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from data_prep.atomic import write_atomic
from data_prep.errors import VolumeError
from data_prep.volume import Affine, Modality, Volume

SUFFIXES = (".nii", ".nii.gz")
MAX_BYTES = 4 << 30
"""Above this a head volume is a mistake or a bomb."""
_MAX_DEFLATE_RATIO = 1032  # zlib's technical note: no deflate stream expands further
_HEADER_BYTES = 540  # NIfTI-2; the older header is 348 and data never starts before 352
_BLOCK_BYTES = 1 << 20


def read_nifti(path: Path, *, modality: Modality, pseudonym: str) -> Volume:
    """Read a `.nii` or `.nii.gz` file whole, with the header's scaling applied, as float32.

    A gzip stream is read to its trailer first, so that its checksum has been compared before a
    voxel is used (nibabel stops short of it). The header's size is compared with the file's
    before memory is taken. Raises VolumeError for whatever cannot be used.
    """
    try:
        image = _image(_read_whole(path))
        _check_header(image)
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise VolumeError(
            "gzip-damaged",
            f"The gzip stream is damaged ({error}): voxels would be wrong without a sign.",
            "Copy the file again from its source; `gzip -t FILE` must be silent.",
        ) from error
    except (ImageFileError, HeaderDataError) as error:
        raise _bad_header(str(error)) from error
    except OSError as error:
        raise VolumeError(
            "unreadable",
            f"The file cannot be read ({error.strerror or error}).",
            "Check that it exists and its permissions, then run the same command again.",
        ) from error
    voxels_zyx = np.ascontiguousarray(voxels.reshape(image.shape[:3]).transpose(2, 1, 0))
    _check_voxels(voxels_zyx)
    return Volume(voxels=voxels_zyx, affine=image.affine, modality=modality, pseudonym=pseudonym)


def write_nifti(
    path: Path, voxels_zyx: NDArray[Any], affine: Affine, description: str = ""
) -> None:
    """Write voxels [z, y, x] as NIfTI-1, atomically, in their own dtype; gzip if so named.

    Both sform and qform carry the affine with code 1 (scanner), units are millimetres; equal
    input gives equal bytes. `description` goes into the header: at most 79 ASCII characters.
    """
    image = nibabel.Nifti1Image(voxels_zyx.transpose(2, 1, 0), affine)
    image.header["descrip"] = description.encode("ascii")
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1, strip_shears=True)
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=3, mtime=0)
    write_atomic(path, content)


def read_description(path: Path) -> str:
    """The header's description of a NIfTI file that this project wrote; empty if it is none."""
    try:
        header = nibabel.load(path).header
        return bytes(header["descrip"].item()).decode("ascii", "replace")
    except (OSError, ValueError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError):
        return ""


def _read_whole(path: Path) -> bytes:
    """The file's uncompressed bytes, as many as the header claims, once that claim is credible."""
    size_bytes = path.stat().st_size
    packed = path.suffix.lower() == ".gz"
    with cast(IO[bytes], gzip.open(path)) if packed else path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
        claimed = _claimed_bytes(head)
        most = min(MAX_BYTES, size_bytes * (_MAX_DEFLATE_RATIO if packed else 1))
        if claimed > most:
            raise _bad_header(f"it claims {claimed:,} bytes, the file can hold {most:,}")
        content = head + stream.read(max(0, claimed - len(head)))
        while packed and stream.read(_BLOCK_BYTES):
            pass  # only at the end of the stream is its checksum compared
    return content


def _image_class(head: bytes) -> Any:
    is_second = int.from_bytes(head[:4], "little") == 540 or int.from_bytes(head[:4], "big") == 540
    return nibabel.Nifti2Image if is_second else nibabel.Nifti1Image


def _claimed_bytes(head: bytes) -> int:
    header_class = _image_class(head).header_class
    length = header_class.template_dtype.itemsize
    if len(head) < length:
        raise _bad_header(f"the file ends after {len(head)} bytes")
    header = header_class(head[:length], check=False)
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7 or min(header["dim"][1 : rank + 1]) < 1:
        raise _bad_header(f"dim is {header['dim'].tolist()}")
    if header["magic"].item().rstrip(b"\0") not in (b"n+1", b"n+2"):
        raise _bad_header("it is no single-file NIfTI (magic is not n+1 or n+2)")
    if not length <= header["vox_offset"] < MAX_BYTES:
        raise _bad_header(f"vox_offset is {header['vox_offset']}")
    voxels = math.prod(int(n) for n in header["dim"][1 : rank + 1])
    return int(header["vox_offset"]) + voxels * int(header["bitpix"]) // 8


def _image(content: bytes) -> Any:
    return _image_class(content).from_bytes(content)


def _check_header(image: Any) -> None:
    """Refuse, with the field's name, what would put voxels in a wrong place or unit."""
    header = image.header
    if image.get_data_dtype().kind not in "iuf":
        raise VolumeError(
            "voxel-type",
            f"Voxels are {image.get_data_dtype()} (datatype), not one number each.",
            "Export the volume as integers or floats.",
        )
    if math.prod(image.shape[3:]) != 1 or len(image.shape) < 3:
        raise VolumeError(
            "not-3d",
            f"The file holds {' x '.join(map(str, image.shape))} voxels (dim), not one volume.",
            "Split a series into one file per volume and give the one that shows the anatomy.",
        )
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise VolumeError(
            "no-affine",
            "sform_code and qform_code are both 0: orientation and position are unknown, and "
            "left and right could be swapped.",
            "Convert again from the DICOM source, or set the right sform.",
        )
    if header.get_xyzt_units()[0] in ("meter", "micron"):
        raise VolumeError(
            "unit",
            f"Lengths are in {header.get_xyzt_units()[0]} (xyzt_units), not in millimetres.",
            "Scale the affine to millimetres and set xyzt_units to mm.",
        )
    if not np.isfinite(image.affine).all() or _is_flat(image.affine[:3, :3]):
        raise VolumeError(
            "affine-unusable",
            f"The affine has no volume or is not finite: {image.affine[:3].round(3).tolist()}.",
            "Convert again from the DICOM source, or set the right sform.",
        )


def _is_flat(axes: Affine) -> bool:
    """Whether a voxel has no volume: determinant over lengths is 1 for right angles, 0 if flat."""
    return bool(abs(np.linalg.det(axes)) <= 1e-3 * np.linalg.norm(axes, axis=0).prod())


def _check_voxels(voxels: NDArray[np.float32]) -> None:
    finite = np.isfinite(voxels)
    if not finite.all():
        raise VolumeError(
            "not-finite",
            f"{(~finite).sum():,} voxels are NaN or infinite.",
            "Repair the step that wrote them; they have no value to train on.",
        )
    if voxels.min() == voxels.max():
        raise VolumeError(
            "constant",
            f"Every voxel is {voxels.flat[0]:g}.",
            "Look at the file: it holds no picture.",
        )


def _bad_header(found: str) -> VolumeError:
    return VolumeError(
        "header-damaged",
        f"The NIfTI header is not usable: {found}.",
        "Copy the file again from its source, or convert it again from DICOM.",
    )
