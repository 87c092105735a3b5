"""Conversions in this process, small and without Ray, and what they leave."""

from pathlib import Path

from data_prep.convert.convert import ConversionReport, convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.commits import HISTORY
from data_prep.store.store import Store, open_store
from data_prep.store.writer import COMMIT_LOCK, LOCK
from mrct.storage.atomic import PARTIAL
from tests.support.volumes import write_head


def settings(inputs: Path, out: Path, **more: object) -> ConvertSettings:
    asked = {"mri": inputs / "mri", "ct": inputs / "ct", "key_file": inputs / "key", "workers": 0}
    asked |= {"spacing_mm": (6.0, 8.0, 8.0), "size": (24, 24)}
    return ConvertSettings(out=out, **asked | more)


def run(inputs: Path, out: Path, **more: object) -> ConversionReport:
    return convert(settings(inputs, out, **more))


def write_heads(folder: Path) -> Path:
    """Three small heads of each modality to convert."""
    for number in range(3):
        write_head(folder / f"mri/{number}.nii", "mri", number)
        write_head(folder / f"ct/{number}.nii", "ct", number + 10)
    return folder


def converted_heads(inputs: Path) -> Store:
    """Such heads, converted."""
    run(write_heads(inputs), inputs / "s.zarr")
    return open_store(inputs / "s.zarr")


def contents(path: Path) -> dict[str, bytes]:
    """Of a store, without its locks and without what it held before; also of litter."""
    files = (
        p
        for p in path.rglob("*")
        if p.is_file()
        and p.name not in (LOCK, COMMIT_LOCK)
        and (p.parent.name != HISTORY or p.name.startswith(PARTIAL))
    )
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
