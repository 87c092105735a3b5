"""Chooses the volumes of a domain by kind, since a study holds several that are not one domain."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from data_prep.datasets.dataset import FoundVolume, FoundVolumes, KindCount
from data_prep.datasets.image_filter import ImageFilter
from data_prep.datasets.series_facts import description_of, facts_of
from data_prep.dicom.image_kind import ALL, KINDS
from mrct.errors import UsageError
from mrct.imaging.modality import Modality

Ask = Callable[[Modality, Sequence[str], Sequence[str]], Sequence[str]]
"""Shows the lines of a table of kinds and asks for some of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesChoice:
    """Which volumes of a modality to take."""

    kinds: tuple[str, ...] = ()
    """Empty if no choice was made."""
    where: ImageFilter | None = None
    must_choose: bool = True
    """Whether several kinds are an error without a choice."""
    ask: Ask | None = None
    """Asks for the kinds if there are several; None off a terminal."""

    def select(self, volumes: Sequence[FoundVolume], modality: Modality) -> "Selection":
        """Return the volumes to take, and a table of all.

        Images that show no anatomy are taken only if their kind is named. Raises UsageError if
        several kinds are left and no choice was made, or if a choice leaves nothing.
        """
        # Damaged files are of no kind; they stay, to be refused by name.
        damaged = [v for v in volumes if v.series and not v.series.headers]
        volumes = [v for v in volumes if not (v.series and not v.series.headers)]
        met = [v for v in volumes if self.where is None or self.where(facts_of(v))]
        table = _table(volumes, met, modality)
        kinds = self.kinds
        offered = sorted({v.kind for v in met if not v.left_out}, key=KINDS[modality].index)
        if not kinds and self.must_choose and len(offered) > 1:
            lines = list(table_lines(table))
            if self.ask is None:
                raise _several(modality, lines, offered)
            kinds = tuple(self.ask(modality, lines, offered))
        taken = [v for v in met if _is_taken(v, kinds)]
        if volumes and not taken and (kinds or self.where):
            raise _nothing(modality, list(table_lines(table)))
        names = {id(volume) for volume in taken}
        skipped = Counter(
            f"DICOM: {volume.left_out}"
            if volume.left_out and volume.series
            else volume.left_out or f"{modality.upper()} not chosen: {volume.kind}"
            for volume in volumes
            if id(volume) not in names
        )
        return Selection(volumes=taken + damaged, table=table, skipped=skipped)


EVERYTHING = SeriesChoice(must_choose=False)
"""Takes all that show anatomy, of however many kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The volumes to take of one modality."""

    volumes: list[FoundVolume]
    table: list[KindCount]
    skipped: Counter[str]


def choose(found: FoundVolumes, choices: Mapping[Modality, SeriesChoice]) -> FoundVolumes:
    """Return the volumes of a layout that the choices select, with the table of kinds."""
    selections = [
        choice.select([v for v in found.volumes if v.modality == modality], modality)
        for modality, choice in choices.items()
    ]
    return replace(
        found,
        volumes=[volume for each in selections for volume in each.volumes],
        skipped=sum((each.skipped for each in selections), found.skipped),
        kinds=[row for each in selections for row in each.table],
    )


def _is_taken(volume: FoundVolume, kinds: Sequence[str]) -> bool:
    if volume.kind in kinds:
        return True
    return not volume.left_out and (not kinds or ALL in kinds)


def _table(
    volumes: Sequence[FoundVolume], met: Sequence[FoundVolume], modality: Modality
) -> list[KindCount]:
    """Count the volumes by kind and by the reason to leave them out."""
    groups: dict[tuple[str, str], list[FoundVolume]] = {}
    for volume in volumes:
        groups.setdefault((volume.left_out, volume.kind), []).append(volume)
    is_met = {id(volume) for volume in met}
    return [
        KindCount(
            modality=modality,
            kind=kind,
            left_out=left_out,
            num_volumes=len(members),
            num_subjects=len({volume.subject for volume in members}),
            num_met=sum(id(volume) in is_met for volume in members),
            example=description_of(members[0]),
        )
        for (left_out, kind), members in sorted(
            groups.items(), key=lambda item: (bool(item[0][0]), -len(item[1]), item[0])
        )
    ]


def table_lines(table: Iterable[KindCount]) -> Iterator[str]:
    """Yield the table of kinds, a line each: counts, an example, and what takes them."""
    for row in table:
        flag = f"--{row.modality}-kind {row.kind}"
        gives = f"{flag} gives {row.num_met}"
        if row.left_out:
            gives = f"left out ({row.left_out}) unless {flag} asks for it"
        counts = f"{row.num_volumes} volume(s) of {row.num_subjects} subject(s)"
        example = f"; e.g. {row.example}" if row.example else ""
        yield f"  {row.modality.upper():<3} {row.kind:<13} {counts:<30} {gives}{example}"


def _several(modality: Modality, lines: Sequence[str], kinds: Sequence[str]) -> UsageError:
    flag = f"--{modality}-kind"
    return UsageError(
        "\n".join(
            [
                f"The {modality.upper()} volumes are of {len(kinds)} kinds, and a domain of mixed "
                "kinds would teach a model a mixture:",
                *lines,
                f"Run the same command with {flag} {kinds[0]} (several kinds may follow), with "
                f"{flag} {ALL} for every kind that is not left out, or list the volumes with "
                "--manifest.",
            ]
        )
    )


def _nothing(modality: Modality, lines: Sequence[str]) -> UsageError:
    return UsageError(
        "\n".join(
            [
                f"--{modality}-kind and --{modality}-where leave no {modality.upper()} volume of:",
                *lines,
                f"Give another --{modality}-kind or --{modality}-where.",
            ]
        )
    )
