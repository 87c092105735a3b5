"""Finds the volumes of a BIDS-like layout: a folder per subject and session, descriptive names.

    sub-01[/ses-1]/anat/sub-01[_ses-1][_<key>-<value>...]_T1w.nii.gz

CT is not yet part of the BIDS specification (BEP 024); in practice it lies in `ct/` or `anat/` and
its names end with `_ct`. Therefore the suffix decides, and the datatype folder is ignored.
`derivatives`, `sourcedata` and `code` lie beside the subjects and are not searched. Derived data
sets may have their files directly in the subject's folder, as CERMEP-IDB-MRXFDG does.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from data_prep.datasets.dataset import (
    LINK_OUT,
    FoundVolume,
    FoundVolumes,
    check_folder,
    lies_inside,
)
from data_prep.datasets.nifti_facts import file_facts
from data_prep.datasets.unread_files import unread_files
from data_prep.readers.formats import VOLUME_SUFFIXES, stem_of
from mrct.errors import UsageError
from mrct.imaging.modality import Modality

_CT_SUFFIX = "ct"


def find_in_bids(root: Path, *, mri_suffix: str = "T1w", paired: bool = False) -> FoundVolumes:
    """Return an MRI and a CT of every session, or of every subject without sessions.

    `mri_suffix` is the suffix of the MRI's name, and may begin with entities that its name must
    have among others: `T1w`, `ce-gadolinium_T1w`, `acq-mprage_run-2_T1w`. If a session has several
    candidates, the one with the fewest entities is chosen, then the first by name; the others are
    counted as skipped, as are files behind links that lead out of `root`. With `paired`, the MRI
    and the CT of one session are taken as aligned.

    Raises:
        UsageError: There are no subjects, or neither an MRI nor a CT.
    """
    check_folder(root, "--bids")
    subjects = [path for path in sorted(root.glob("sub-*")) if path.is_dir()]
    if not subjects:
        raise UsageError(
            f"--bids {root} contains no folder sub-<label>: it is not the root of a BIDS tree. "
            "Give the folder that contains the subjects' folders, or give --mri and --ct."
        )
    place, skipped = root.resolve(), Counter[str]()
    endings: dict[Modality, str] = {"mri": mri_suffix, "ct": _CT_SUFFIX}
    volumes = []
    for subject in subjects:
        for session in sorted(subject.glob("ses-*")) or [subject]:
            files = [
                path
                for path in (*session.glob("*"), *session.glob("*/*"))
                if _is_volume(path) and lies_inside(path, place, skipped)
            ]
            chosen = {
                modality: path
                for modality, ending in endings.items()
                if (path := _with_fewest_entities(files, ending, skipped))
            }
            _count_others(files, endings.values(), skipped)
            pair = session.relative_to(root).as_posix() if paired and len(chosen) > 1 else None
            for modality, path in chosen.items():
                kind, facts, error = file_facts(path, modality)
                volumes.append(
                    FoundVolume(
                        path=path,
                        modality=modality,
                        name=path.relative_to(root).as_posix(),
                        subject=subject.name,
                        label=subject.name,
                        pair=pair,
                        kind=kind,
                        facts=facts,
                        left_out=error.code if error else "",
                    )
                )
    if not volumes:
        raise UsageError(
            f"--bids {root} has {len(subjects)} subject(s), and none of them has a file named "
            f"*_{mri_suffix}.nii.gz or *_{_CT_SUFFIX}.nii.gz in a datatype folder (anat, ct). "
            "Give the suffix of the MRIs with --mri-suffix, such as --mri-suffix T2w."
            + "".join(f" ({n} x {why})" for why, n in skipped.items() if why == LINK_OUT)
        )
    taken = {path for subject in subjects for path in subject.rglob("*") if _is_volume(path)}
    return FoundVolumes(volumes=volumes, skipped=skipped + unread_files(subjects, taken))


def _is_volume(path: Path) -> bool:
    return path.name.startswith("sub-") and path.name.lower().endswith(VOLUME_SUFFIXES)


def _ends(path: Path, ending: str) -> bool:
    """Return whether a name ends with the suffix and has its entities (ce-gadolinium_T1w)."""
    *entities, suffix = ending.lower().split("_")
    parts = stem_of(path.name).lower().split("_")
    return parts[-1] == suffix and set(entities) <= set(parts)


def _count_others(files: Iterable[Path], endings: Collection[str], skipped: Counter[str]) -> None:
    """Count the volumes of other suffixes as skipped, by kind; a suffix itself could be a name."""
    for path in files:
        if not any(_ends(path, ending) for ending in endings):
            skipped[f"BIDS: files of another suffix ({file_facts(path, 'mri')[0]})"] += 1


def _with_fewest_entities(files: Iterable[Path], ending: str, skipped: Counter[str]) -> Path | None:
    """Return the candidate with the fewest entities, and count the others as skipped."""
    candidates = [path for path in files if _ends(path, ending)]
    if not candidates:
        return None
    if len(candidates) > 1:
        skipped[f"BIDS: further *_{ending} files of a session"] += len(candidates) - 1
    return min(candidates, key=lambda path: (path.name.count("_"), path.as_posix()))
