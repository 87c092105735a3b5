"""Inputs that are odd and legal: each must be accepted, with the voxels that are meant."""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from tests.faults import harmful_formats, harmful_nifti
from tests.faults.case import Case
from tests.faults.harmful_nifti import AFFINE, image_of
from tests.faults.harmful_pixels import as_signed, stored
from tests.support.compression import COMPRESSED, compress
from tests.support.series import (
    SHAPE,
    Change,
    both,
    every,
    nothing,
    pixels_of,
    set_pixels,
    setting,
    slice_dataset,
    values,
    write_enhanced,
    write_series,
)

NAN = float("nan")
TURN = np.deg2rad(25)
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN) * 0.6, np.cos(TURN) * 0.6, 0.8)
TOP_ROWS = (np.arange(SHAPE[1]) < 3)[:, None]


def odd(what: str, change: Change = nothing, **how: Any) -> Case:
    """A sound CT series with something unusual about its slices."""
    expected = {key: how.pop(key) for key in ("voxels",) if key in how}
    return Case(what=what, make=lambda folder: write_series(folder, change, **how), **expected)


def placed(what: str, **place: Any) -> Case:
    """A CT in another direction."""
    return Case(what=what, make=lambda folder: write_series(folder, **place), **place)


def syntax(uid: str) -> Change:
    """Uncompressed pixels under another transfer syntax."""
    return every(lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", uid))


def big_endian(dataset: Dataset) -> None:
    """The other byte order, retired and still on old discs."""
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.set_original_encoding(False, False)
    dataset.PixelData = pixels_of(dataset).astype(">u2").tobytes()


def without(*keywords: str) -> Change:
    """Slices that lack these tags."""
    return every(lambda dataset: [delattr(dataset, keyword) for keyword in keywords])


def own_slope(index: int, dataset: Dataset) -> None:
    """A fractional slope on every slice, as some MR scanners write."""
    slope = float(f"1.{index}27")
    dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), -1024
    set_pixels(dataset, np.rint((values("CT")[index] + 1024) / slope))


def by_own_slope() -> np.ndarray:
    """What `own_slope` writes, by its definition."""
    slopes = np.array([float(f"1.{index}27") for index in range(SHAPE[0])])[:, None, None]
    return np.rint((values("CT") + 1024) / slopes) * slopes - 1024


def bare(folder: Path) -> None:
    """Data sets without the preamble, as old exports are."""
    for path in write_series(folder).iterdir():
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\0\x08\0CS") :])


def with_copy(folder: Path) -> None:
    """One slice twice."""
    (write_series(folder) / "copy").write_bytes((folder / "003.dcm").read_bytes())


def with_company(folder: Path) -> None:
    """A series among other files, with a link that leads out of the folder."""
    write_series(folder)
    for name in ("README.txt", "scan.zip", ".DS_Store"):
        (folder / name).write_bytes(b"other content")
    outside = write_series(folder.parent / "outside", setting(SeriesInstanceUID="1.2.7"))
    (folder / "link.dcm").symlink_to(outside / "000.dcm")


def over_folders(folder: Path) -> None:
    """One series, its slices in folders of their own."""
    for index in range(SHAPE[0]):
        write_series(
            folder / f"{index % 3}" / "x", without=set(range(SHAPE[0])) - {index}, name="{}"
        )


def with_localizer(folder: Path) -> None:
    """A marked localizer of another direction in the same series."""
    write_series(folder)
    scout = slice_dataset("CT", 0, (0, 1, 0, 0, 0, -1))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(folder / "scout", enforce_file_format=True)


def enhanced_values() -> np.ndarray:
    """What `write_enhanced` stores, whose frames have slopes of 1 to 8."""
    factor = 1 + np.arange(SHAPE[0])[:, None, None]
    return np.rint((values("CT") + 1024) / factor) * factor - 1024


DICOM = [
    odd("none: an ordinary series"),
    odd("names without suffix", name="IM{}"),
    odd("names that are UIDs", name="1.2.840.{}"),
    Case(what="slices spread over folders", make=over_folders),
    Case(what="other files and links beside them", make=with_company),
    Case(what="files without preamble", make=bare),
    Case(what="a slice twice, the same pixels", make=with_copy),
    Case(what="a localizer in the same series", make=with_localizer),
    odd("no InstanceNumber", without("InstanceNumber")),
    odd("InstanceNumber the same on all slices", setting(InstanceNumber=1)),
    odd(
        "InstanceNumber in reverse spatial order",
        lambda index, dataset: setattr(dataset, "InstanceNumber", 100 - index),
    ),
    odd("no FrameOfReferenceUID", without("FrameOfReferenceUID")),
    odd("no Modality tag", without("Modality")),
    odd("no patient tags", without("PatientID", "PatientName", "PatientBirthDate")),
    odd("a tilt in the tag only", setting(GantryDetectorTilt=18.5)),
    odd(
        "a series UID for every slice (Canon)",
        lambda index, dataset: setting(SeriesInstanceUID=f"1.2.3.4.{index + 1}", SeriesNumber=7)(
            index, dataset
        ),
    ),
    odd(
        "one acquisition per slice",
        lambda index, dataset: setting(AcquisitionNumber=index, ImagesInAcquisition=1)(
            index, dataset
        ),
    ),
    odd("implicit value representations", syntax(ImplicitVRLittleEndian)),
    odd("big endian", every(big_endian)),
    odd("deflated", syntax(DeflatedExplicitVRLittleEndian)),
    *(odd(name, every(partial(compress, syntax=syntax))) for name, syntax in COMPRESSED.items()),
    odd("16 signed bits", as_signed(lambda index: values("CT")[index])),
    odd("a different fractional slope on every slice", own_slope, voxels=by_own_slope()),
    odd(
        "bits set above the stored bits",
        stored(lambda index, pixels: pixels | (0xA000 if index % 2 else 0x5000)),
    ),
    odd(
        "overlay graphics in the unused bits, and an empty end slice",
        stored(lambda index, pixels: (pixels if index else 0 * pixels) | 0x8000 * TOP_ROWS),
        voxels=np.where(np.arange(SHAPE[0])[:, None, None] == 0, -1024, values("CT")),
    ),
    odd(
        "padding of -2000",
        both(
            as_signed(lambda index: np.where(TOP_ROWS, -2000, values("CT")[index])),
            setting(PixelPaddingValue=-2000),
        ),
        voxels=np.where(TOP_ROWS, -1024, values("CT")),
    ),
    odd("MONOCHROME1 (HU are HU)", setting(PhotometricInterpretation="MONOCHROME1")),
    Case(
        what="an MR in MONOCHROME1 (inverted)",
        make=lambda folder: write_series(
            folder,
            both(
                lambda i, d: set_pixels(d, values("MR").max() - values("MR")[i]),
                setting(PhotometricInterpretation="MONOCHROME1"),
            ),
            modality="MR",
        ),
        modality="MR",
    ),
    Case(
        what="an enhanced multi-frame CT, frames shuffled",
        make=lambda folder: write_enhanced(folder / "a.dcm"),
        voxels=enhanced_values(),
    ),
    placed("coronal slices", orientation=(1, 0, 0, 0, 0, -1)),
    placed("sagittal slices", orientation=(0, 1, 0, 0, 0, -1)),
    placed("oblique slices", orientation=OBLIQUE),
    placed("slices in downward order", step=(0, 0, -3)),
]


def nifti(what: str, image: Callable[[], Any], name: str = "a.nii", **expected: Any) -> Case:
    """A NIfTI file with something unusual about it."""
    return Case(what=what, make=lambda folder: image().to_filename(folder / name), **expected)


def scaled() -> Any:
    """Stored as bytes of 5 HU, with a slope and an intercept."""
    image = image_of(voxels=np.rint((values("CT") + 1000) / 5), dtype=np.uint8)
    image.header.set_slope_inter(5, -1000)
    return image


def turned() -> Any:
    """Axes stored as z, x, y, two of them backwards."""
    return image_of().as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))


def with_codes(sform: int, qform: int) -> Any:
    """One of the two forms alone."""
    image = image_of()
    image.set_sform(AFFINE, code=sform)
    image.set_qform(AFFINE, code=qform)
    return image


def swapped(image: Any) -> Any:
    """Big endian, as old workstations wrote."""
    header = image.header.as_byteswapped(">")
    return nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, header)


def members(folder: Path) -> None:
    """A gzip file of two streams, as parallel compressors write."""
    whole = image_of().to_bytes()
    (folder / "a.nii.gz").write_bytes(gzip.compress(whole[:9000]) + gzip.compress(whole[9000:]))


NIFTI = [
    nifti("none: an ordinary file", image_of),
    nifti(
        "4-D with one time point",
        lambda: nibabel.Nifti1Image(image_of().get_fdata()[..., None].astype(np.int16), AFFINE),
    ),
    nifti("permuted axes, two of them reversed", turned),
    nifti("qform only", lambda: with_codes(0, 1)),
    nifti("sform only", lambda: with_codes(1, 0)),
    nifti("64-bit numbers", lambda: image_of(dtype=np.float64)),
    nifti(
        "8-bit numbers with a slope and an intercept",
        scaled,
        voxels=np.rint((values("CT") + 1000) / 5) * 5 - 1000,
    ),
    nifti("the other byte order", lambda: swapped(image_of())),
    nifti(
        "a CT padded with 0 HU",
        lambda: image_of(voxels=np.where(TOP_ROWS, 0, values("CT"))),
        voxels=np.where(TOP_ROWS, -1024, values("CT")),
    ),
    nifti(
        "an MR in [-1, 1]",
        # A power of 2, whose quotients are exact in 32 bits; others tip over when rounded.
        lambda: image_of(voxels=values("MR") / 256 - 1, dtype=np.float32),
        modality="MR",
    ),
    nifti(
        "an MR far below zero",
        lambda: image_of(voxels=values("MR") - 5000),
        modality="MR",
    ),
    nifti("NIfTI-2", lambda: nibabel.Nifti2Image.from_image(image_of())),
    Case(what="a gzip file of two streams", make=members),
    harmful_nifti.field(
        "scl_slope and scl_inter NaN: not scaled", "", scl_slope=NAN, scl_inter=NAN
    ),
    harmful_nifti.field("scl_slope NaN and scl_inter 0", "", scl_slope=NAN, scl_inter=0),
    harmful_nifti.field("pixdim[0] = 0, which means 1", "", pixdim=[0, 0.8, 0.9, 3, 0, 0, 0, 0]),
]


def by_itk(what: str, name: str, packed: bool) -> Case:
    """A file of SimpleITK's."""
    image = harmful_formats.image_of
    return Case(
        what=what,
        make=lambda folder: SimpleITK.WriteImage(image(), folder / name, useCompression=packed),
    )


def with_header_size(folder: Path) -> None:
    """A file that counts its voxels from the end."""
    path = folder / "a.mha"
    SimpleITK.WriteImage(harmful_formats.image_of(), path)
    path.write_bytes(path.read_bytes().replace(b"ElementType", b"HeaderSize = -1\nElementType", 1))


ITK = [
    by_itk("MHA", "a.mha", False),
    by_itk("compressed MHA", "a.mha", True),
    by_itk("compressed NRRD", "a.nrrd", True),
    Case(what="NRRD compressed with bzip2", make=harmful_formats.bzip2),
    Case(what="MHA whose HeaderSize is -1 (voxels at the end)", make=with_header_size),
]
