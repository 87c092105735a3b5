"""Real DICOM files of others, and what must become of them; they are read where they lie."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.faults.case import Case

ARCHIVES = {
    "dicom/dcm_qa_ct_GE_tilt18.5_28slices.tar.gz": ("CT", "irregular-spacing"),
    "dicom/mirp_STS_002_CT_MR_T1.tar.gz": ("CT", ""),
    "dicom/papaya_MR_PD_20slices.tar.gz": ("MR", ""),
}
FOLDERS = {
    "odd/dicom_not_a_volume/gantrytilting": ("CT", "gantry-tilt"),
    "odd/dicom_not_a_volume/notavolume": ("CT", "too-few-slices"),
    "odd/dicom_not_a_volume/slicecount": ("MR", "too-few-slices"),
    "odd/dicom_not_a_volume/sliceincrement/001": ("CT", "slice-missing"),
    "odd/dicom_not_a_volume/sliceincrement/002": ("CT", "slice-missing"),
    "odd/dicom_not_a_volume/sliceorientation": ("MR", "too-few-slices"),
    "odd/single_files/CT_small.dcm": ("CT", "too-few-slices"),
    "odd/single_files/MR_small.dcm": ("MR", "too-few-slices"),
    "odd/single_files/MR_small_bigendian.dcm": ("MR", "too-few-slices"),
    "odd/single_files/MR_small_padded.dcm": ("MR", "too-few-slices"),
    "odd/single_files/MR_truncated.dcm": ("MR", "too-few-slices"),
    "odd/single_files/emri_small.dcm": ("MR", "header-incomplete"),
    "odd/transfer_syntaxes/anatomical/001": ("MR", ""),
    "odd/transfer_syntaxes/anatomical/001_implicit": ("MR", ""),
    "odd/transfer_syntaxes/anatomical/002_non_isotropic": ("MR", ""),
    "odd/transfer_syntaxes/compressed/001": ("MR", ""),
    "odd/transfer_syntaxes/compressed_j2k": ("MR", ""),
    "odd/transfer_syntaxes/compressed_jpeg": ("MR", ""),
    "odd/transfer_syntaxes/compressed_jpegls": ("MR", ""),
    "odd/transfer_syntaxes/compressed_rle": ("MR", ""),
}
LEFT_ALONE = {
    "odd/single_files/JPEG-lossy.dcm": ("MR", "secondary-capture"),
    "odd/single_files/eCT_Supplemental.dcm": ("CT", "colour"),
    "odd/transfer_syntaxes/rgb": ("MR", "secondary-capture"),
}


def cases(shared: Path) -> list[Case]:
    """One case for each series or file."""
    found = []
    for place, (modality, code) in (ARCHIVES | FOLDERS | LEFT_ALONE).items():
        found.append(
            Case(
                what=place,
                make=bring(shared / place),
                code=code,
                modality=modality,
                is_beside=place in LEFT_ALONE,
            )
        )
    return found


def bring(source: Path) -> Callable[[Path], None]:
    """Puts files into the folder of a case."""

    def make(folder: Path) -> None:
        if source.name.endswith(".tar.gz"):
            with tarfile.open(source) as tar:
                tar.extractall(folder, filter="data")
        elif source.is_dir():
            shutil.copytree(source, folder / "series", copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, folder / source.name)

    return make
