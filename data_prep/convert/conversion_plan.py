"""Plans a conversion: gives volumes their pseudonyms and splits and groups them into jobs."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.convert.pseudonyms import Key
from data_prep.convert.settings import ConvertSettings
from data_prep.datasets.bids import find_in_bids
from data_prep.datasets.dataset import FoundVolume, FoundVolumes
from data_prep.datasets.folders import find_in_folders
from data_prep.datasets.manifest import find_in_manifest
from data_prep.datasets.series_choice import Ask, SeriesChoice, choose
from data_prep.datasets.split import Fractions, Split, assign_splits, read_splits
from data_prep.datasets.synthrad import find_in_synthrad
from data_prep.readers.tolerances import Leniency
from data_prep.sources.source import Source
from data_prep.store.commits import removed_subjects
from mrct.errors import UsageError
from mrct.imaging.modality import Modality
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionJob:
    """The input of one task: a volume, or the MRI and the CT of a pair."""

    sources: tuple[Source, ...]
    """One volume, or a pair with the MRI first, because the MRI determines the grid."""
    split: Split


def find_volumes(settings: ConvertSettings, ask: Ask | None = None) -> FoundVolumes:
    """Return the volumes of the layout in the settings, with the splits of the split file.

    `ask` asks for the kinds to take where there are several and the settings choose none. Raises
    UsageError if there is no volume, several kinds and nobody to ask, or no pair although pairs
    are requested.
    """
    kinds: dict[Modality, tuple[str, ...]] = {"mri": settings.mri_kind, "ct": settings.ct_kind}
    choices = {
        modality: SeriesChoice(kinds=kinds[modality], where=where, ask=ask)
        for modality, where in settings.filters.items()
    }
    findings = _layout(settings, choices)
    if settings.paired and not any(volume.pair for volume in findings.volumes):
        raise UsageError(
            "--paired is given, but no MRI and CT belong together. A pair has equal names (or the "
            "folder of one subject) below --mri and --ct, one session in BIDS, or one patient and "
            "frame of reference in DICOM. Omit --paired, or list the pairs with --manifest."
        )
    if settings.split_file is None:
        return findings
    splits = read_splits(settings.split_file)
    unknown = len(splits.keys() - {volume.label for volume in findings.volumes})
    remark = f"{unknown} subject(s) of the split file are not among the volumes."
    return replace(
        findings,
        volumes=[replace(v, split=v.split or splits.get(v.label)) for v in findings.volumes],
        remarks=findings.remarks + ([remark] if unknown else []),
    )


def _layout(settings: ConvertSettings, choices: Mapping[Modality, SeriesChoice]) -> FoundVolumes:
    if settings.manifest:
        return find_in_manifest(settings.manifest)
    if settings.bids:
        found = find_in_bids(settings.bids, mri_suffix=settings.mri_suffix, paired=settings.paired)
        return choose(found, choices)
    if settings.synthrad:
        return find_in_synthrad(settings.synthrad)
    folders: dict[Modality, Path | None] = {"mri": settings.mri, "ct": settings.ct}
    return find_in_folders(
        {modality: folder for modality, folder in folders.items() if folder},
        settings.leniency,
        choices=choices,
        paired=settings.paired,
        same_subjects=settings.same_subjects,
        subject_by=settings.subject_by,
    )


def name_sources(volumes: Iterable[FoundVolume], key: Key, leniency: Leniency) -> list[Source]:
    """Return the volumes under their pseudonyms, numbered from 1, to be read with `leniency`."""
    return [
        Source(
            number=number,
            path=volume.path,
            modality=volume.modality,
            pseudonym=key.pseudonym(volume.modality, volume.name),
            subject=key.pseudonym("subject", volume.subject),
            label=volume.label,
            split=volume.split,
            pair=volume.pair,
            mask=volume.mask,
            series=volume.series,
            kind=volume.kind,
            leniency=leniency,
        )
        for number, volume in enumerate(volumes, start=1)
    ]


def leave_out_removed(
    sources: list[Source], out: StoragePath, skipped: Counter[str]
) -> list[Source]:
    """Return the sources whose subjects were not removed from the store, and count the others."""
    removed = removed_subjects(out)
    kept = [source for source in sources if source.subject not in removed]
    if left := len(sources) - len(kept):
        skipped["volume of a subject that was removed from this store"] += left
    return kept


def plan_jobs(
    sources: Collection[Source],
    frozen: Mapping[str, Split],
    fractions: Fractions,
    unusable: Collection[str] = (),
) -> list[ConversionJob]:
    """Join pairs, and assign a split to each subject.

    `frozen` holds the splits of subjects that the store already has. `unusable` names sources that
    their headers rule out; they do not count towards the quotas. Raises UsageError if a subject
    would be in two splits.
    """
    wanted = _wanted(sources, frozen)
    modalities: dict[str, set[Modality]] = {source.subject: set() for source in sources}
    for source in sources:
        if source.name not in unusable:
            modalities[source.subject].add(source.modality)
    kinds = {subject: "+".join(sorted(has)) for subject, has in modalities.items()}
    splits = assign_splits(kinds, fixed={**frozen, **wanted}, fractions=fractions)
    groups = defaultdict(list)
    for source in sorted(sources, key=lambda source: source.modality == "ct"):
        groups[source.pair or source.number].append(source)
    return [ConversionJob(sources=tuple(g), split=splits[g[0].subject]) for g in groups.values()]


def _wanted(sources: Iterable[Source], frozen: Mapping[str, Split]) -> dict[str, Split]:
    """Return the splits that the manifest or the split file requests."""
    wanted: dict[str, Split] = {}
    for source in sources:
        if source.split is None:
            continue
        before = frozen.get(source.subject) or wanted.get(source.subject)
        if before not in (None, source.split):
            has = "the store has it" if source.subject in frozen else "another volume of it is"
            raise UsageError(
                f"Subject {source.subject} is to be in {source.split}, but {has} in {before}. A "
                "model may have trained on this subject, and its scores would then mean nothing. "
                "Give all its volumes the existing split, or convert into a new --out."
            )
        wanted[source.subject] = source.split
    return wanted
