"""Reads the headers of all sources: the grid of each, or why it will be refused."""

from collections.abc import Collection
from dataclasses import dataclass

from data_prep.sources.source import Source
from data_prep.store.commits import commit_path
from mrct.errors import VolumeError, as_volume_error
from mrct.imaging.volume import Grid
from mrct.progress import progress
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ScannedHeader:
    """One source and what its headers contain."""

    source: Source
    grid: Grid | None = None
    """The grid according to the headers, for a volume that is not yet in the store."""
    refusal: VolumeError | None = None
    """Why it will be refused, if the headers show it."""

    @property
    def is_stored(self) -> bool:
        """Whether the store has a volume of this name; its headers were then not read."""
        return self.grid is None and self.refusal is None


def scan_headers(sources: Collection[Source], out: StoragePath) -> list[ScannedHeader]:
    """Read the headers of all sources that are not in the store `out`, if it exists."""
    previews = []
    with progress("headers", total=len(sources)) as advance:
        for source in sources:
            previews.append(_scan_header(source, out))
            advance()
    return previews


def _scan_header(source: Source, out: StoragePath) -> ScannedHeader:
    if commit_path(out, source.name).exists():
        return ScannedHeader(source=source)
    try:
        return ScannedHeader(source=source, grid=source.preview())
    except Exception as error:  # as in a conversion: one source's fault is not the others'
        return ScannedHeader(source=source, refusal=as_volume_error(error))


def unusable(previews: Collection[ScannedHeader]) -> set[str]:
    """Return the names of the sources that their headers rule out."""
    return {each.source.name for each in previews if each.refusal}
