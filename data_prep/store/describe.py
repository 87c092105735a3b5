"""Summarises a store for people: counts and geometry of its volumes, histograms, and notes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from data_prep.datasets.split import SPLITS, Split
from data_prep.preprocess.axis_fit import scans_to_fit
from data_prep.preprocess.height_axis import WORST_MISFIT_MM
from data_prep.store.commits import read_commit
from data_prep.store.index import Volumes
from data_prep.store.store import Store
from mrct.imaging.modality import MODALITIES, Modality

EDGES_HU = np.arange(-1024, 2049, 64)
"""Edges of the histogram bins; higher values are counted in the last bin."""
_BARS = " ▁▂▃▄▅▆▇█"

MOST_WARNINGS = 10
"""Largest number of volumes that are named because they do not fit the axis of heights."""
SAMPLES = 4
"""Number of CT volumes per split that are read for the histograms."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Histogram:
    """Histogram of the HU inside the body of some volumes."""

    counts: NDArray[np.int64]
    """Number of voxels in each bin of EDGES_HU."""
    volumes: int
    """Number of volumes."""
    percentiles: tuple[float, float, float]
    """1st, 50th and 99th percentile, in HU."""

    def __str__(self) -> str:
        # Square roots make bone visible beside soft tissue; a bin with a voxel is never blank.
        heights = np.sqrt(self.counts / max(1, self.counts.max()))
        bars = "".join(_BARS[math.ceil(height * (len(_BARS) - 1))] for height in heights)
        low, middle, high = self.percentiles
        return f"|{bars}|  1 % {low:.0f}, median {middle:.0f}, 99 % {high:.0f}"


def sample_volumes(volumes: Volumes, count: int) -> Volumes:
    """Return at most `count` of the volumes, evenly spaced."""
    return volumes[:: max(1, -(-len(volumes) // count))]


def store_histogram(store: Store, volumes: Volumes) -> Histogram:
    """Read all these CT volumes and count their HU inside the body.

    Args:
        store: Store with the volumes.
        volumes: At least one CT volume.

    Raises:
        StoreError: A volume is damaged.
    """
    values = [store.voxels(volume)[store.body(volume) == 1] for volume in volumes]
    hu = np.concatenate(values).clip(EDGES_HU[0], EDGES_HU[-1])
    low, middle, high = np.percentile(hu, [1, 50, 99])
    return Histogram(
        counts=np.histogram(hu, EDGES_HU)[0],
        volumes=len(volumes),
        percentiles=(float(low), float(middle), float(high)),
    )


def facts_of(store: Store) -> dict[str, Any]:
    """Return what `describe` tells, for programs: sizes in mm and bytes, windows in raw units."""
    return {
        "store": str(store.path),
        "preprocessing": store.fingerprint,
        "contents": store.contents,
        "spacing_mm": list(store.spacing_mm),
        "size": list(store.size),
        "heights": _axis(store),
        "domains": [
            {"split": split, "modality": modality, **_domain(store.select(modality, split))}
            for split in SPLITS
            for modality in MODALITIES
        ],
    }


def describe(store: Store) -> RenderableType:
    """Return the store's settings and a table with a row per split and modality.

    It reads no voxels.
    """
    dz, dy, dx = store.spacing_mm
    rows, columns = store.size
    head = (
        f"{store.path}\n"
        f"Voxels {dz:g} x {dy:g} x {dx:g} mm (z y x), slices {rows} x {columns} "
        f"({rows * dy:g} x {columns * dx:g} mm), preprocessing {store.fingerprint}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("split", "domain"):
        table.add_column(name, no_wrap=True)
    for name in ("subjects", "volumes", "linked", "slices", "body %", "window", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in SPLITS:
        for modality in MODALITIES:
            table.add_row(split, modality, *_row(_domain(store.select(modality, split))))
    return Group(head, table)


def height_facts(store: Store) -> dict[str, Any]:
    """Return what `heights` tells, for programs: mm on the axis, and volumes that do not fit it."""
    return {"store": str(store.path), **_axis(store), "misfits_mm": misfits_of(store)}


def _axis(store: Store) -> dict[str, Any]:
    axis = store.axis
    return {
        "sha256": axis.sha256,
        "length_mm": axis.high_mm - axis.low_mm,
        "volumes": axis.volumes,
        "fallback": axis.fallback,
    }


def misfits_of(store: Store) -> dict[str, float | None]:
    """Return the volumes whose outline is unlike that of the others wherever it is laid.

    Returns:
        The misfit in mm by name; None of a volume that fits nowhere, whose heights are those in its
        own field of view.
    """
    if not store.axis.sizes_mm:
        return {}
    found = {volume.name: volume.place(store.axis).misfit_mm for volume in store.volumes}
    return {
        name: misfit if math.isfinite(misfit) else None
        for name, misfit in found.items()
        if misfit is not None and misfit > WORST_MISFIT_MM
    }


def height_lines(store: Store) -> Iterator[str]:
    """Yield sentences about the axis of heights and the volumes that do not fit it."""
    axis = store.axis
    if not axis.sizes_mm:
        train = [len(store.select(modality, "train")) for modality in MODALITIES]
        missing = (
            "No conversion has ended yet, and so no axis was fitted: run the same convert again, "
            f"or fit one to what is there: python -m data_prep heights {store.path} --refit"
            if all(train)
            else "The train split needs an MRI and a CT for an axis in common."
        )
        yield f"Heights are those in each volume's field of view. {axis.fallback or missing}"
        if sum(len(scans_to_fit(count)) for count in train) > axis.volumes > 0:
            yield (
                "Volumes were added since. To fit an axis to them, after which runs on this store "
                f"cannot be resumed: python -m data_prep heights {store.path} --refit"
            )
        return
    yield (
        f"Heights lie on an axis of {axis.high_mm - axis.low_mm:.0f} mm, on which {axis.volumes} "
        "training volumes were aligned by their outlines."
    )
    misfits = misfits_of(store)
    for name, misfit in [*misfits.items()][:MOST_WARNINGS]:
        found = "fits nowhere on it" if misfit is None else f"differs from it by {misfit:.0f} mm"
        yield (
            f"warning: The outline of {name} {found} ({WORST_MISFIT_MM:.0f} mm are usual at most). "
            "Look at its body mask; it may be another part of the body."
        )
    if len(misfits) > MOST_WARNINGS:
        yield (
            f"warning: So do {len(misfits) - MOST_WARNINGS} more; all of them: "
            f"python -m data_prep heights {store.path} --json"
        )


def hu_lines(store: Store) -> Iterator[str]:
    """Yield a histogram of the HU inside the body per split; reads SAMPLES volumes of each."""
    for split in SPLITS:
        if volumes := store.select("ct", split):
            histogram = store_histogram(store, sample_volumes(volumes, SAMPLES))
            yield f"{split:5} {histogram} ({histogram.volumes} of {len(volumes)} volumes)"


def notes_of(store: Store) -> Iterator[str]:
    """Yield the notes of the commit records: corrections and what could not be checked."""
    for volume in store.volumes:
        for note in read_commit(store.path, volume.name).get("notes", []):
            yield f"{volume.name}: {note}"


def _domain(volumes: Volumes) -> dict[str, Any]:
    found = {
        "subjects": len({volume.subject for volume in volumes}),
        "volumes": len(volumes),
    }
    if not volumes:
        return found
    fractions = np.concatenate([volume.body_fraction for volume in volumes])
    windows = volumes.column("window")
    return found | {
        "linked": sum(volume.link is not None for volume in volumes),
        "slices": len(fractions),
        "body_fraction": float(fractions.mean()),
        "window": [float(windows[:, 0].min()), float(windows[:, 1].max())],
        "bytes": int(volumes.column("bytes").sum()),
    }


def _row(domain: dict[str, Any]) -> list[str]:
    counts = [str(domain[name]) for name in ("subjects", "volumes")]
    if "slices" not in domain:
        return counts
    low, high = domain["window"]
    return [
        *counts,
        str(domain["linked"]),
        str(domain["slices"]),
        f"{100 * domain['body_fraction']:.0f}",
        f"{low:.0f}..{high:.0f}",
        f"{domain['bytes'] / 2**20:.1f}",
    ]


def empty_domains(store: Store) -> list[tuple[Modality, Split]]:
    """Return the domains and splits that have no volume although training needs one."""
    needed: list[tuple[Modality, Split]] = [("mri", "train"), ("ct", "train"), ("mri", "val")]
    return [each for each in needed if not store.select(*each)]
