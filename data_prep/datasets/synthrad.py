"""Finds the cases of the SynthRAD challenges' first task: a folder with an MRI, a CT and a mask.

    2023: Task1/<brain or pelvis>/<case>/{mr,ct,mask}.nii.gz
    2025: Task1/<AB, HN or TH>/<case>/{mr,ct,mask}.mha

All three of a case lie on one grid: MRI and CT are an aligned pair, and the mask is the body
(Thummerer et al., arXiv 2303.16320 and 2502.17609). A validation case has no CT. The folders
`overview` and `overviews` contain images and tables, no cases.
"""

from collections import Counter, defaultdict
from pathlib import Path

from data_prep.datasets.dataset import FoundVolume, FoundVolumes, check_folder, volume_files
from data_prep.datasets.unread_files import unread_files
from data_prep.readers.formats import stem_of
from mrct.errors import UsageError
from mrct.imaging.modality import Modality

_FILE_NAMES: dict[Modality, str] = {"mri": "mr", "ct": "ct"}
_MASK = "mask"
_CONE_BEAM = "cbct"


def find_in_synthrad(root: Path) -> FoundVolumes:
    """Return the MRI and the CT of every case below a folder, paired and with their mask.

    The folder of the case names the subject. Cases of the second task (cone-beam CT) are counted
    as skipped.

    Raises:
        UsageError: There is no case.
    """
    check_folder(root, "--synthrad")
    skipped: Counter[str] = Counter()
    cases: dict[Path, dict[str, Path]] = defaultdict(dict)
    found_files = volume_files(root, skipped)
    skipped += unread_files([root], set(found_files))
    for path in found_files:
        cases[path.parent][stem_of(path.name).lower()] = path
    volumes = []
    unused = 0
    for folder, files in sorted(cases.items()):
        if _CONE_BEAM in files:
            skipped["SynthRAD: case with cone-beam CT (task 2)"] += 1
            continue
        found = {modality: files[name] for modality, name in _FILE_NAMES.items() if name in files}
        unused += len(files) - len(found) - (_MASK in files)
        pair = folder.relative_to(root).as_posix() if len(found) > 1 else None
        volumes += [
            FoundVolume(
                path=path,
                modality=modality,
                name=path.relative_to(root).as_posix(),
                subject=folder.name,
                label=folder.name,
                pair=pair,
                mask=files.get(_MASK),
            )
            for modality, path in found.items()
        ]
    if unused:
        skipped["SynthRAD: volume file that is no mr, ct or mask of a case"] = unused
    if not volumes:
        left = "".join(f", {count} x {reason}" for reason, count in skipped.items())
        raise UsageError(
            f"--synthrad {root} contains no case: no folder at any depth has a file named mr or ct "
            f"(.nii.gz, .nii, .mha{left}). Give the unpacked folder, such as Task1."
        )
    return FoundVolumes(volumes=volumes, skipped=skipped)
