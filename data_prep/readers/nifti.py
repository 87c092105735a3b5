"""Reads and writes NIfTI files with nibabel."""

import gzip
import io
import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from data_prep.readers.file_state import unreadable
from data_prep.readers.header_checks import (
    ASSUMED,
    MAX_BYTES,
    bad_header,
    check_affine,
    check_number,
    check_shape,
    damaged_stream,
    detached,
    no_affine,
)
from data_prep.readers.raw_voxels import MAX_RATIO, inflate
from mrct.errors import VolumeError
from mrct.imaging.modality import Modality
from mrct.imaging.volume import Affine, Grid, Note, Volume, ignore_note
from mrct.storage.atomic import write_atomic

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DESCRIPTION_LENGTH = 79
"""Maximum length of the header's description in ASCII characters; nibabel truncates longer ones."""
_HEADER_BYTES = 540  # NIfTI-2; the older header is 348 and data never starts before 352
_DATATYPES = nibabel.nifti1.data_type_codes.value_set("code")
_POSITION_CODES = set(nibabel.nifti1.xform_codes.value_set("code"))
_MILLIMETRES = (0, 2)
"""Accepted values of xyzt_units: unknown, and millimetres."""
_NIFTI_WRITTEN_LOSS = 1e-2
"""Tolerance as a fraction of the voxel size: pixdim is often rounded when written."""
_MAX_QFORM_SFORM_DISTANCE = 0.5
"""Largest distance between the corners of sform and qform, in smallest voxel sides."""


def read_nifti(
    path: Path,
    *,
    modality: Modality,
    pseudonym: str,
    assume_affine: bool = False,
    note: Note = ignore_note,
) -> Volume:
    """Read a whole `.nii` or `.nii.gz` file, with the header's scaling applied.

    Voxels are float32, or int16 if the file stores int16 without scaling.

    A gzip stream is first read to its end, so that its checksum is verified before a voxel is used
    (nibabel does not read it). The size in the header is compared with the size of the file before
    memory is allocated. With `assume_affine` a file without sform and qform has its axes as in
    nibabel: x to the left, y to the front, z up, the centre at 0. Raises VolumeError if the file
    cannot be used.
    """
    with _explained():
        content, header = _read_whole(path)
        _check_header(header, assume_affine=assume_affine)
        image = _image_class(content).from_bytes(content)
        check_affine(image.affine)
        voxels = _voxels(image, content)
    voxels_zyx = np.ascontiguousarray(voxels.reshape(image.shape[:3]).transpose(2, 1, 0))
    if not _is_placed(header):
        note(ASSUMED)
    return Volume(voxels=voxels_zyx, affine=image.affine, modality=modality, pseudonym=pseudonym)


def _voxels(image: Any, content: bytes) -> NDArray[Any]:
    """Return voxels [x, y, z, ...]; int16, as in most CT, takes half the memory and time."""
    dtype, scaling = image.get_data_dtype(), (image.dataobj.slope, image.dataobj.inter)
    if (dtype.kind, dtype.itemsize, scaling) == ("i", 2, (1, 0)):
        stored = np.frombuffer(content, dtype, offset=image.dataobj.offset)
        return stored.reshape(image.shape, order="F").astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):  # refused later, as not finite
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))


def nifti_shape(path: Path) -> tuple[int, int, int]:
    """Return (x, y, z) according to the header; raises VolumeError if the file is too small."""
    with _explained(), _opened(path) as stream:
        header = _header(stream.read(_HEADER_BYTES), path)
        return check_shape(header.get_data_shape())


def nifti_grid(path: Path, *, assume_affine: bool = False) -> Grid:
    """Return the grid according to the header; raises VolumeError if it is unusable."""
    with _explained():
        with _opened(path) as stream:
            header = _header(stream.read(_HEADER_BYTES), path)
        _check_header(header, assume_affine=assume_affine)
        affine = header.get_best_affine()
    check_affine(affine)
    x, y, z = check_shape(header.get_data_shape())
    return Grid(shape=(z, y, x), affine=affine)


def write_nifti(
    path: Path, voxels_zyx: NDArray[Any], affine: Affine, description: str = "", mode: int = 0o644
) -> None:
    """Write voxels [z, y, x] as NIfTI-1, atomically, in their own dtype; gzip for the suffix .gz.

    Both sform and qform carry the affine with code 1 (scanner), units are millimetres; equal
    input gives equal bytes. `description` goes into the header: at most DESCRIPTION_LENGTH ASCII
    characters.
    """
    assert len(description) <= DESCRIPTION_LENGTH
    image = nibabel.Nifti1Image(voxels_zyx.transpose(2, 1, 0), affine)
    image.header["descrip"] = description.encode("ascii")
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1, strip_shears=True)
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=3, mtime=0)
    write_atomic(path, content, mode)


def read_description(path: Path) -> str:
    """Return the description in a NIfTI header; empty if the file is not readable as NIfTI."""
    try:
        header = nibabel.load(path).header
        return bytes(header["descrip"].item()).decode("ascii", "replace")
    except (OSError, ValueError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError):
        return ""


@contextmanager
def _explained() -> Iterator[None]:
    """Convert errors of gzip, nibabel and the file system to VolumeError."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged_stream("gzip", error) from error
    except OSError as error:
        raise unreadable(error) from error
    except VolumeError:
        raise
    except KeyError as error:
        raise _bad(f"it has a code that the standard does not define ({error})") from error
    except (ImageFileError, HeaderDataError, ValueError) as error:
        raise _bad(str(error)) from error


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _opened(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if _is_packed(path) else path.open("rb")


def _read_whole(path: Path) -> tuple[bytes, Any]:
    """Return the uncompressed content, exactly as long as the header claims, and the header."""
    with _opened(path) as stream:
        header = _header(stream.read(_HEADER_BYTES), path)
    claimed = _claimed_bytes(header)
    if _is_packed(path):
        content = inflate(path.read_bytes(), "gzip", most_bytes=claimed)
    else:
        with path.open("rb") as file:
            content = file.read(claimed + 1)
    if len(content) != claimed:
        found = "more" if len(content) > claimed else f"{len(content):,}"
        raise _bad(f"it claims {claimed:,} bytes, but there are {found}")
    start = header.structarr.dtype.fields["pixdim"][1]
    first = header["pixdim"][:1].tobytes()  # in the byte order of the file
    return content[:start] + first + content[start + len(first) :], header


def _image_class(head: bytes) -> Any:
    is_second = int.from_bytes(head[:4], "little") == 540 or int.from_bytes(head[:4], "big") == 540
    return nibabel.Nifti2Image if is_second else nibabel.Nifti1Image


def _header(head: bytes, path: Path) -> Any:
    """Return the header unchanged (nibabel would repair it silently), its sizes checked."""
    header_class = _image_class(head).header_class
    length = header_class.template_dtype.itemsize
    if len(head) < length:
        raise _bad(f"the file ends after {len(head)} bytes")
    header = header_class(head[:length], check=False)
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise _bad("dim has an invalid number of axes")  # not printed: it may be patient text
    if min(header["dim"][1 : rank + 1]) < 1:
        raise _bad(f"dim is {header['dim'].tolist()}")
    magic = header["magic"].item().rstrip(b"\0")
    if magic in (b"ni1", b"ni2"):
        raise detached("The voxels lie in an .img file beside the header (magic)")
    if magic not in (b"n+1", b"n+2"):
        raise _bad("it is not a single-file NIfTI (magic is not n+1 or n+2)")
    if not (length <= header["vox_offset"] < MAX_BYTES and header["vox_offset"] % 1 == 0):
        raise _bad(f"vox_offset is {header['vox_offset']}")
    kind = int(header["datatype"])
    check_number(f"of an unknown type (datatype {kind})", kind in _DATATYPES)
    if header["bitpix"] != 8 * header.get_data_dtype().itemsize:
        raise _bad(f"bitpix {header['bitpix']} does not fit datatype {header['datatype']}")
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # the standard (nifti1.h, qfac); nibabel raises an error
    claimed, size_bytes = _claimed_bytes(header), path.stat().st_size
    most = min(MAX_BYTES, size_bytes * (MAX_RATIO if _is_packed(path) else 1))
    if claimed > most:
        raise _bad(f"it claims {claimed:,} bytes, but the file can have at most {most:,}")
    return header


def _claimed_bytes(header: Any) -> int:
    voxels = math.prod(int(n) for n in header["dim"][1 : int(header["dim"][0]) + 1])
    return int(header["vox_offset"]) + voxels * int(header["bitpix"]) // 8


def _check_header(header: Any, *, assume_affine: bool) -> None:
    """Raise VolumeError, with the field's name, for a wrong datatype, scaling, unit or affine."""
    dtype = header.get_data_dtype()
    check_number(f"{dtype} (datatype)", dtype.kind in "iuf")
    check_shape(header.get_data_shape())
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # A slope of 0 (the standard) or NaN (nibabel) means "not scaled": an intercept makes no sense.
    is_unscaled = slope == 0 or math.isnan(slope)
    is_sound = intercept == 0 or math.isnan(intercept) if is_unscaled else math.isfinite(intercept)
    if math.isinf(slope) or not is_sound:
        raise VolumeError(
            "slope",
            f"Values would be scaled by {slope:g} and shifted by {intercept:g} (scl_slope, "
            "scl_inter).",
            "Convert again from the DICOM source, or correct them.",
        )
    unit = int(header["xyzt_units"]) % 8
    if unit not in _MILLIMETRES:
        name = {1: "metres", 3: "microns"}.get(unit, f"an unknown unit ({unit})")
        raise VolumeError(
            "unit",
            f"Lengths are in {name} (xyzt_units), not in millimetres.",
            "Scale the affine to millimetres and set xyzt_units to mm.",
        )
    _check_affines(header, assume_affine=assume_affine)


def _is_placed(header: Any) -> bool:
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def _check_affines(header: Any, *, assume_affine: bool) -> None:
    """Raise VolumeError unless sform, qform and pixdim, as far as set, describe the same grid."""
    spacing = np.array(header["pixdim"][1:4], np.float64)
    if not (np.isfinite(spacing).all() and spacing.min() > 0):
        raise VolumeError(
            "pixdim",
            f"Voxel sizes are {spacing.tolist()} (pixdim): they must be above 0.",
            "Convert again from the DICOM source, or correct pixdim.",
        )
    codes = {int(header["sform_code"]), int(header["qform_code"])}
    if not codes <= _POSITION_CODES:
        raise _bad(f"sform_code and qform_code are {sorted(codes)}")
    if not (_is_placed(header) or assume_affine):
        raise no_affine("sform_code and qform_code are both 0")
    if header["sform_code"] <= 0:
        return
    sform = header.get_sform()
    check_affine(sform)
    if np.abs(np.linalg.norm(sform[:3, :3], axis=0) / spacing - 1).max() > _NIFTI_WRITTEN_LOSS:
        raise _conflict(f"sform has voxels of other sizes than pixdim, {spacing.tolist()} mm")
    if header["qform_code"] <= 0:
        return
    # A qform cannot hold a shear, so it is compared with the one that this sform would give.
    own = header.copy()
    own.set_qform(sform, strip_shears=True)
    corners = np.array(list(itertools.product(*((0, n - 1) for n in header.get_data_shape()[:3]))))
    apart = (own.get_qform() - header.get_qform())[:3] @ np.c_[corners, np.ones(len(corners))].T
    distance_mm = float(np.linalg.norm(apart, axis=0).max())
    if not distance_mm <= _MAX_QFORM_SFORM_DISTANCE * spacing.min():
        raise _conflict(
            f"the positions of one voxel by sform and qform are {distance_mm:.3g} mm apart"
        )


def _conflict(found: str) -> VolumeError:
    return VolumeError(
        "affine-conflict",
        f"The header contradicts itself: {found}. It cannot be decided which one is correct.",
        "Convert again from the DICOM source, or set the code of the wrong one to 0 "
        "(sform_code, qform_code).",
    )


def _bad(found: str) -> VolumeError:
    return bad_header("NIfTI", found)
