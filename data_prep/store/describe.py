"""A store in words for people: how much there is of what, and in which geometry."""

from collections.abc import Iterator

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from data_prep.datasets.split import SPLITS, Split
from data_prep.store.commits import read_commit
from data_prep.store.histogram import histogram_of, sampled
from data_prep.store.index import Volumes
from data_prep.store.store import Store
from mrct.imaging.volume import Modality

SAMPLES = 4
"""CT volumes of each split whose voxels are read for the histograms."""


def describe(store: Store) -> RenderableType:
    """The store's settings and a table with a row per split and modality; reads no voxels."""
    dz, dy, dx = store.spacing_mm
    rows, columns = store.size
    head = (
        f"{store.path}\n"
        f"voxels {dz:g} x {dy:g} x {dx:g} mm (z y x), slices {rows} x {columns} "
        f"({rows * dy:g} x {columns * dx:g} mm), preprocessing {store.fingerprint}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("split", "domain"):
        table.add_column(name, no_wrap=True)
    for name in ("subjects", "volumes", "linked", "slices", "body %", "window", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in SPLITS:
        for modality in ("mri", "ct"):
            volumes = store.select(modality, split)
            table.add_row(split, modality, *(_row(volumes) if volumes else ["0", "0"]))
    return Group(head, table)


def hu_lines(store: Store) -> Iterator[str]:
    """The HU inside the body per split, a line each; reads SAMPLES volumes of each split."""
    for split in SPLITS:
        if volumes := store.select("ct", split):
            histogram = histogram_of(store, sampled(volumes, SAMPLES))
            yield f"{split:5} {histogram} ({histogram.volumes} of {len(volumes)} volumes)"


def notes_of(store: Store) -> Iterator[str]:
    """What convert put right or could not check, a line each, from the commit records."""
    for volume in store.volumes:
        for note in read_commit(store.path, volume.name).get("notes", []):
            yield f"{volume.name}: {note}"


def _row(volumes: Volumes) -> list[str]:
    fractions = np.concatenate([volume.body_fraction for volume in volumes])
    windows = volumes.column("window")
    return [
        str(len({volume.subject for volume in volumes})),
        str(len(volumes)),
        str(sum(volume.link is not None for volume in volumes)),
        str(len(fractions)),
        f"{100 * fractions.mean():.0f}",
        f"{windows[:, 0].min():.0f}..{windows[:, 1].max():.0f}",
        f"{volumes.column('bytes').sum() / 2**20:.1f}",
    ]


def empty_domains(store: Store) -> list[tuple[Modality, Split]]:
    """Which domain of which split has no volume, where training needs one."""
    needed: list[tuple[Modality, Split]] = [("mri", "train"), ("ct", "train"), ("mri", "val")]
    return [each for each in needed if not store.select(*each)]
