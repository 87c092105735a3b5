"""Matches the MRI and the CT of an aligned pair by names and headers."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from data_prep.datasets.dataset import FoundVolume
from data_prep.dicom.series import refusal
from data_prep.readers.formats import stem_of
from data_prep.readers.tolerances import Leniency
from mrct.imaging.modality import Modality

Groups = dict[str, dict[Modality, list[FoundVolume]]]
"""Volumes that belong together, by the value that they share."""


def pair_files(volumes: list[FoundVolume]) -> tuple[list[FoundVolume], list[str]]:
    """Pair files of equal relative names, then the only MRI and the only CT of a subject.

    Ambiguous candidates are not linked, and are counted in a remark.
    """
    volumes, doubtful = _join(volumes, _group_by(volumes, _place_without_suffix))
    rest = [volume for volume in volumes if volume.pair is None]
    paired, doubtful_subjects = _join(rest, _group_by(rest, lambda volume: volume.label))
    linked = [volume for volume in volumes if volume.pair is not None]
    if not doubtful | doubtful_subjects:
        return linked + paired, []
    return linked + paired, [
        f"{len(doubtful | doubtful_subjects)} subject(s) have several MRIs or CTs that could be "
        "the pair: none of these was linked. Name the pairs with --manifest (column pair)."
    ]


def pair_dicom(
    volumes: list[FoundVolume], leniency: Leniency
) -> tuple[list[FoundVolume], list[str]]:
    """Pair the MRI and the CT of a patient that share a frame of reference.

    Series that their headers rule out are not paired. Of several, the one with most images is used.
    """

    def frame_of_reference(volume: FoundVolume) -> str | None:
        series = volume.series
        assert series is not None
        if refusal(series, leniency):
            return None
        frame = series.headers[0].frame_of_reference_uid
        return f"{volume.subject}\0{frame}" if frame else None

    groups = _group_by(volumes, frame_of_reference)
    chosen: Groups = {
        frame: {modality: [max(of, key=_num_images)] for modality, of in group.items()}
        for frame, group in groups.items()
    }
    paired, _ = _join(volumes, chosen)
    many = sum(groups[frame] != chosen[frame] for frame in groups)
    if not many:
        return paired, []
    return paired, [
        f"{many} patient(s) have several series in one frame of reference: the MRI and the CT "
        "with most images were taken as the pair."
    ]


def _group_by(volumes: list[FoundVolume], rule: Callable[[FoundVolume], str | None]) -> Groups:
    """Group volumes by the value of `rule`, and keep the groups with both modalities."""
    groups: Groups = defaultdict(lambda: defaultdict(list))
    for volume in volumes:
        if (shared := rule(volume)) is not None:
            groups[shared][volume.modality].append(volume)
    return {shared: group for shared, group in groups.items() if len(group) > 1}


def _join(volumes: list[FoundVolume], groups: Groups) -> tuple[list[FoundVolume], set[str]]:
    """Set `pair` in groups of one MRI and one CT; also return the subjects of larger groups."""
    pairs: dict[tuple[Modality, str], str] = {}
    doubtful: set[str] = set()
    for shared, group in groups.items():
        members = [volume for of in group.values() for volume in of]
        if len(members) == 2:
            pairs |= {(volume.modality, volume.name): shared for volume in members}
        else:
            doubtful |= {volume.subject for volume in members}
    return [replace(v, pair=pairs.get((v.modality, v.name))) for v in volumes], doubtful


def _place_without_suffix(volume: FoundVolume) -> str:
    return (Path(volume.name).parent / stem_of(volume.path.name)).as_posix()


def _num_images(volume: FoundVolume) -> int:
    return len(volume.series.headers) if volume.series else 0
