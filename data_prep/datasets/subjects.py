"""Decides whose scan a DICOM series is, and says where its headers disagree about that.

Names, birth dates and institutions are compared as digests that hold for this process only; what
is said about them is how many differ.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from data_prep.datasets.split import SubjectRule
from data_prep.dicom.series import Series

_TRAITS: dict[str, Callable[[Series], str]] = {
    "patient name": lambda series: series.headers[0].name_digest,
    "birth date": lambda series: series.headers[0].birth_date_digest,
    "institution": lambda series: series.headers[0].institution_digest,
}


def subject_of(series: Series, rule: SubjectRule) -> tuple[str, str]:
    """Return the identity and the label of a series' subject, by its header.

    Without a PatientID each study is a subject of its own.
    """
    if rule == "study" and series.headers:
        identity = series.headers[0].study_uid
    else:
        identity = series.identity or series.name
    return identity, identity.split("\0")[0]


def subject_remarks(found: Iterable[Series], rule: SubjectRule) -> list[str]:
    """Return what the headers of all series leave in doubt about their subjects."""
    chosen = [series for series in found if series.headers]
    remarks = []
    nameless = sum(not series.patient_id for series in chosen)
    if nameless and rule == "id":
        remarks.append(
            f"{nameless} DICOM series have no PatientID: each of their studies was taken for a "
            "subject of its own. If a person has several studies, give --subject-by folder, or "
            "list the subjects with --manifest."
        )
    of_id: dict[str, list[Series]] = defaultdict(list)
    for series in chosen:
        if series.patient_id:
            of_id[series.patient_id].append(series)
    doubts = []
    for what, trait in _TRAITS.items():
        counts = [len({trait(series) for series in same} - {""}) for same in of_id.values()]
        if max(counts, default=0) > 1:
            doubts.append(f"{what} ({_ids(counts)}, up to {max(counts)} different)")
    if doubts and rule == "id":
        remarks.append(
            f"DICOM series of one PatientID disagree on {', '.join(doubts)}. Each PatientID was "
            "taken for one subject. If several people share it, or sites number alike, give "
            "--subject-by study or --subject-by folder."
        )
    issuers = [len({series.identity for series in same}) for same in of_id.values()]
    if max(issuers, default=0) > 1 and rule == "id":
        remarks.append(
            f"{_ids(issuers)} occur with up to {max(issuers)} different issuers, and were taken "
            "for different subjects. If they are one person, give --subject-by folder, or list the "
            "subjects with --manifest."
        )
    return remarks


def _ids(counts: Iterable[int]) -> str:
    return f"{sum(count > 1 for count in counts)} PatientID(s)"
