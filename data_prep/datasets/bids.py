"""The BIDS-like layout: a folder per subject and session, and names that say what they hold.

    sub-01[/ses-1]/anat/sub-01[_ses-1][_<key>-<value>...]_T1w.nii.gz

CT is not in the BIDS specification yet (BEP 024); in practice it lies in `ct/` or `anat/` and its
names end with `_ct`. The datatype folder's name therefore decides nothing here, the suffix does.
`derivatives`, `sourcedata` and `code` lie beside the subjects and are not looked into.
"""

from collections import Counter
from pathlib import Path

from data_prep.datasets.dataset import Findings, Found, check_folder
from data_prep.readers.formats import VOLUME_SUFFIXES, stem_of
from mrct.errors import UsageError
from mrct.imaging.volume import Modality

_CT_SUFFIX = "ct"


def find_in_bids(root: Path, *, mri_suffix: str = "T1w", paired: bool = False) -> Findings:
    """An MRI and a CT of every session (of every subject that has no sessions).

    `mri_suffix` is what the MRI's name ends with, and may begin with entities: `T1w`, `T2w`,
    `ce-gadolinium_T1w`. Of several candidates of one session the plainest counts: the one with
    the fewest entities, then the first by name; the others are counted as skipped. With `paired`,
    the MRI and the CT of one session are aligned.

    Raises:
        UsageError: There are no subjects, or neither an MRI nor a CT.
    """
    check_folder(root, "--bids")
    subjects = [path for path in sorted(root.glob("sub-*")) if path.is_dir()]
    if not subjects:
        raise UsageError(
            f"--bids {root} holds no folder sub-<label>: it is not the root of a BIDS tree. Name "
            "the folder that holds the subjects' folders, or give --mri and --ct."
        )
    skipped: Counter[str] = Counter()
    endings: dict[Modality, str] = {"mri": mri_suffix, "ct": _CT_SUFFIX}
    volumes = []
    for subject in subjects:
        for session in sorted(subject.glob("ses-*")) or [subject]:
            chosen = {
                modality: plainest
                for modality, ending in endings.items()
                if (plainest := _plainest(session, ending, skipped))
            }
            pair = session.relative_to(root).as_posix() if paired and len(chosen) > 1 else None
            volumes += [
                Found(
                    path=path,
                    modality=modality,
                    name=path.relative_to(root).as_posix(),
                    subject=subject.name,
                    label=subject.name,
                    pair=pair,
                )
                for modality, path in chosen.items()
            ]
    if not volumes:
        raise UsageError(
            f"--bids {root} has {len(subjects)} subject(s), and none of them a file named "
            f"*_{mri_suffix}.nii.gz or *_{_CT_SUFFIX}.nii.gz in a datatype folder (anat, ct). "
            "Say how the MRIs' names end with --mri-suffix, such as --mri-suffix T2w."
        )
    return Findings(volumes=volumes, skipped=skipped)


def _plainest(session: Path, ending: str, skipped: Counter[str]) -> Path | None:
    """The candidate with the fewest entities; the others are counted."""
    candidates = [
        path
        for path in session.glob("*/*")
        if path.name.startswith("sub-")
        and path.name.lower().endswith(VOLUME_SUFFIXES)
        and stem_of(path.name).lower().endswith(f"_{ending.lower()}")
    ]
    if not candidates:
        return None
    if len(candidates) > 1:
        skipped[f"BIDS: another *_{ending} of a session that gave one"] += len(candidates) - 1
    return min(candidates, key=lambda path: (path.name.count("_"), path.as_posix()))
