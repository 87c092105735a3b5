"""Counts, by kind, the files of an input folder that are neither a volume nor DICOM.

A kind is named by words of this module, never by the text of a file's name, which may name a
patient.
"""

import os
from collections import Counter
from collections.abc import Iterable, Set
from pathlib import Path

_UNPACK = "not unpacked here: unpack it, and convert again"
_SUFFIXES_OF_KIND = {
    "FreeSurfer volume (.mgz, .mgh), not read: convert it with mri_convert IN.mgz OUT.nii.gz": (
        ".mgz",
        ".mgh",
    ),
    "MINC volume (.mnc), not read: convert it with mnc2nii": (".mnc", ".mnc.gz"),
    f"compressed volume (.nii.zst, .nii.bz2, .nii.xz, .nrrd.gz), {_UNPACK}": tuple(
        f"{volume}{packed}"
        for volume in (".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".dcm")
        for packed in (".gz", ".zst", ".bz2", ".xz", ".lz4", ".z")
        if volume + packed != ".nii.gz"
    ),
    f"archive (.zip, .tar, .tar.gz), {_UNPACK}": (
        *(".zip", ".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz"),
        *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"),
    ),
    "voxels of a header in another file (.img, .raw), not read: write both as one .nii.gz, .mha "
    "or .nrrd": (".img", ".img.gz", ".raw", ".raw.gz", ".zraw", ".bin"),
    "array without a geometry (.npy, .npz, .mat, .h5), not read: write it as .nii.gz with its "
    "affine": (".npy", ".npz", ".mat", ".h5", ".hdf5", ".pt"),
    "volume of a format that is not read (.par/.rec, .gipl, .vtk, .vti, .v, .cub): convert it to "
    ".nii.gz": (".par", ".rec", ".gipl", ".vtk", ".vti", ".v", ".cub", ".head", ".brik", ".mif"),
    "unfinished download or copy (.part, .tmp): finish it, and convert again": (
        *(".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".temp"),
    ),
}
_PLAIN_SUFFIXES = (
    *(".json", ".tsv", ".csv", ".txt", ".md", ".pdf", ".xml", ".html", ".log", ".yaml", ".yml"),
    *(".bval", ".bvec", ".xlsx", ".xls", ".docx", ".py", ".m", ".sh", ".ini", ".db", ".sql"),
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".stl", ".obj", ".mp4"),
)
_KIND_OF_SUFFIX = {
    suffix: kind for kind, suffixes in _SUFFIXES_OF_KIND.items() for suffix in suffixes
} | {suffix: f"file that is no volume ({suffix})" for suffix in _PLAIN_SUFFIXES}
_LONGEST_FIRST = tuple(sorted(_KIND_OF_SUFFIX, key=len, reverse=True))
_LITTER = "__MACOSX"
OTHER_MATCH = (
    "file that the pattern matches and that is no volume file: for DICOM, match the folders"
)


def kind_of(name: str) -> str:
    """Return the kind of an unread file, for people."""
    lower = name.lower()
    suffix = next((each for each in _LONGEST_FIRST if lower.endswith(each)), None)
    return _KIND_OF_SUFFIX[suffix] if suffix else "file of another kind, without DICOM content"


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden, or metadata that macOS adds to archives."""
    return name.startswith(".") or name == _LITTER


def unread_files(folders: Iterable[Path], taken: Set[Path]) -> Counter[str]:
    """Count the files at any depth below the folders that are not in `taken`, by kind.

    Hidden folders and folders that are links are counted, not opened. Links to files that lead out
    of their folder are counted where they are met (`volume_files`).
    """
    counts: Counter[str] = Counter()
    for folder in _outermost(folders):
        root = folder.resolve()
        for parent, names, files in os.walk(folder):
            for name in list(names):
                if kind := _kind_of_folder(Path(parent, name)):
                    counts[kind] += 1
                    names.remove(name)
            for name in files:
                path = Path(parent, name)
                if is_litter(name):
                    counts["hidden file"] += 1
                elif path not in taken and not _leads_out(path, root):
                    counts[kind_of(name)] += 1
    return counts


def _kind_of_folder(path: Path) -> str:
    """Return the kind of a folder that is not opened; empty for all others."""
    if is_litter(path.name):
        return "hidden folder"
    if path.is_symlink():
        return "folder that is a link, not followed: give the folder that it leads to"
    return "Zarr image (.zarr), not read: write it as .nii.gz" if path.suffix == ".zarr" else ""


def _leads_out(path: Path, root: Path) -> bool:
    return path.is_symlink() and not path.resolve().is_relative_to(root)


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Return the folders that lie in no other of them, each once."""
    places = {folder.resolve(): folder for folder in folders}
    return [folder for place, folder in places.items() if places.keys().isdisjoint(place.parents)]
