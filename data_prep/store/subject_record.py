"""The subjects that a run or a model was shown: `subjects.json` in its folder, by pseudonym.

With it the runs and models that saw a subject are found even after the subject was removed from the
store.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from data_prep.datasets.split import SPLITS, Split
from data_prep.store.store import Store
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath

SUBJECTS_FILE = "subjects.json"
SubjectRecord = Mapping[str, list[str]]
"""The subjects by use: `train` for those whose slices were learned from, `val` for those that
checkpoints were chosen by."""
_USES: tuple[Split, ...] = ("train", "val")
UNKNOWN_SUBJECTS: SubjectRecord = {use: [] for use in _USES}
_MARKS = ("config.yaml", "model.json")
"""Files that mark the folder of a run or of a model."""


def subjects_of(store: Store) -> SubjectRecord:
    """Return the subjects that a run on this store is shown."""
    subjects = store.volumes.texts("subject")
    splits = store.volumes.column("split")
    return {
        use: sorted({name.decode() for name in subjects[splits == SPLITS.index(use)]})
        for use in _USES
    }


def read_subjects(folder: StoragePath) -> SubjectRecord:
    """Return the record of a run or a model, empty if there is none or it is damaged."""
    path = folder / SUBJECTS_FILE
    try:
        return _parse(path.read_bytes()) if path.exists() else {}
    except (ValueError, KeyError, TypeError):
        return {}


def write_subjects(folder: StoragePath, *records: SubjectRecord) -> None:
    """Write the union of the records, which are those of all data that a run has seen."""
    (folder / SUBJECTS_FILE).put(subjects_content(*records))


def subjects_content(*records: SubjectRecord) -> bytes:
    """Return the content of the file for the union of some records."""
    union = {use: sorted({s for record in records for s in record.get(use, ())}) for use in _USES}
    return json.dumps({"schema": 1} | union, indent=1).encode() + b"\n"


def folders_that_saw(subject: str, roots: Iterable[StoragePath]) -> Iterator[str]:
    """Yield a line for each run and model below the roots that saw a subject or does not tell.

    Args:
        subject: Pseudonym of the subject.
        roots: Folders in which runs and models lie at any depth.
    """
    for root in roots:
        files = sorted(root.sizes())
        folders = {file.rpartition("/")[0] for file in files if _base(file) in _MARKS}
        recorded = {file.rpartition("/")[0] for file in files if _base(file) == SUBJECTS_FILE}
        for folder in sorted(folders | recorded):
            place = root / folder if folder else root
            record = read_subjects(place) if folder in recorded else {}
            uses = [use for use in _USES if subject in record.get(use, ())]
            if uses:
                yield f"{place}: {' and '.join(uses)}"
            elif not any(record.values()):
                yield f"{place}: unknown, since it has no sound {SUBJECTS_FILE}"


def _parse(content: bytes) -> SubjectRecord:
    values = parse_json(content)
    return {use: list(values[use]) for use in _USES}


def _base(file: str) -> str:
    return file.rpartition("/")[2]
