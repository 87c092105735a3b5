"""Small conversions in this process, and the store that comes of them."""

from data_prep.convert.convert import ConversionReport, convert
from data_prep.convert.settings import ConvertSettings
from data_prep.store.store import Store, open_store

GRID = {"spacing_mm": (6.0, 4.0, 4.0), "size": (56, 48)}


def run(workers: int = 0, **settings: object) -> tuple[ConversionReport, Store]:
    report = convert(ConvertSettings(**{**GRID, "workers": workers} | settings))
    return report, open_store(settings["out"])
