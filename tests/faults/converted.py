"""Conversions in this process, small and without Ray, and what they leave."""

from pathlib import Path

from data_prep.convert.convert import ConversionReport, convert
from data_prep.convert.settings import ConvertSettings


def settings(inputs: Path, out: Path, **more: object) -> ConvertSettings:
    asked = {"mri": inputs / "mri", "ct": inputs / "ct", "key_file": inputs / "key", "workers": 0}
    asked |= {"spacing_mm": (6.0, 8.0, 8.0), "size": (24, 24)}
    return ConvertSettings(out=out, **asked | more)


def run(inputs: Path, out: Path, **more: object) -> ConversionReport:
    return convert(settings(inputs, out, **more))


def contents(path: Path) -> dict[str, bytes]:
    """Of a store, without its locks and without what it held before."""
    files = (
        p
        for p in path.rglob("*")
        if p.is_file() and p.name not in (".lock", ".commit") and p.parent.name != "history"
    )
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
