"""Ranks volumes by how much they differ from the others of their modality, without their voxels.

A wrong series, a cut head or an outline that failed differs in kind, field of view, outline or
intensities. Distances are in robust standard deviations (1.4826 times the median absolute
deviation); Iglewicz and Hoaglin 1993 call 3.5 an outlier.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_prep.store.index import Volumes
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.geometry import relative_height
from mrct.imaging.modality import MODALITIES
from mrct.imaging.volume import PLANES

ODD = 3.5
LEAST_VOLUMES = 8
"""Smallest number of volumes of which a usual value can be told."""
_MAD_TO_STD = 1.4826
_LEAST_SPREAD = 0.03
"""Smallest spread that is assumed, as a fraction of the median: equal scans differ by rounding."""
_COMPARED_HEIGHTS = np.linspace(0.05, 0.95, 10)
"""Relative heights in the body at which outlines are compared."""
_VIEWS = ("left-right", "front-back", "foot-head")
_LEAST_ANISOTROPY = 1.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OddVolume:
    """A volume, and its property that differs most from the others."""

    volume: StoredVolume
    distance: float
    """Distance of the property from the usual value, in robust standard deviations."""
    reason: str
    """The property, its value and the usual one."""

    def __str__(self) -> str:
        return f"{self.volume.name}: {self.reason} ({self.distance:.1f} standard deviations)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Property:
    """A property of all volumes."""

    distance: NDArray[np.float64]
    texts: list[str] = field(repr=False)


def oddest_of(store: Store, count: int) -> list[OddVolume]:
    """Return the odd volumes of a store, at most `count` MRIs and then as many CTs."""
    modality = store.volumes.column("modality")
    groups = (store.volumes.where(modality == MODALITIES.index(each)) for each in MODALITIES)
    return [odd for volumes in groups for odd in odd_volumes(volumes, count)]


def odd_volumes(volumes: Volumes, count: int) -> list[OddVolume]:
    """Return the volumes that differ from the others by ODD or more, the oddest first.

    Args:
        volumes: Volumes of one modality; of fewer than LEAST_VOLUMES none is odd.
        count: Largest number to return.
    """
    if len(volumes) < LEAST_VOLUMES:
        return []
    properties = [*_source(volumes), *_outline(volumes)]
    distances = np.stack([each.distance for each in properties])
    order = np.argsort(-distances.max(axis=0), kind="stable")[:count].tolist()
    return [
        OddVolume(
            volume=volumes[row],
            distance=float(distances[:, row].max()),
            reason=properties[int(distances[:, row].argmax())].texts[row],
        )
        for row in order
        if distances[:, row].max() >= ODD
    ]


def _source(volumes: Volumes) -> list[_Property]:
    """Return kind, field of view, voxel size and plane of the source files."""
    columns = volumes.column("source_affine")[:, :3, :3]  # [volumes, patient axes, voxel axes]
    spacing = np.linalg.norm(columns, axis=1)
    cosines = np.abs(columns / spacing[:, None])
    extent = spacing * volumes.column("source_shape")[:, ::-1]
    views = np.take_along_axis(extent, cosines.argmax(axis=2), axis=1)
    anisotropy = spacing.max(axis=1) / spacing.min(axis=1)
    widest = np.take_along_axis(cosines, spacing.argmax(axis=1)[:, None, None], axis=2)[:, :, 0]
    names = np.array([*PLANES, "isotropic"])
    planes = names[np.where(anisotropy < _LEAST_ANISOTROPY, len(PLANES), widest.argmax(axis=1))]
    return [
        *(_measured(f"view {name}", views[:, axis], " mm") for axis, name in enumerate(_VIEWS)),
        _measured("voxels of", spacing.max(axis=1), " mm"),
        _named("slices", planes.tolist()),
        _named("kind", [kind.decode() for kind in volumes.texts("kind").tolist()]),
    ]


def _outline(volumes: Volumes) -> list[_Property]:
    """Return size and shape of the body mask, and the contrast inside it."""
    body, deviation = (
        volumes.of_slices(name).astype(np.float64) for name in ("body_fraction", "deviation")
    )
    depths = volumes.depths
    starts = depths.cumsum() - depths
    has_body = (body > 0).astype(np.float64)
    profiles = np.stack(
        [
            _by_own_height(body[start : start + depth])
            for start, depth in zip(starts.tolist(), depths.tolist(), strict=True)
        ]
    )
    off = np.sqrt(((profiles - np.median(profiles, axis=0)) ** 2).mean(axis=1))
    contrast = np.add.reduceat(deviation * has_body, starts) / np.maximum(
        1, np.add.reduceat(has_body, starts)
    )
    return [
        _measured("body", 100 * np.add.reduceat(body, starts) / depths, " %"),
        _measured("widest slice", 100 * np.maximum.reduceat(body, starts), " % body"),
        _measured("outline off by", 100 * off, " %", floor=2.0),
        _measured("contrast", contrast, ""),
    ]


def _by_own_height(body: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return body fractions from the lowest to the highest slice with body."""
    holding = np.flatnonzero(body)
    lowest, highest = (holding[0], holding[-1]) if len(holding) else (0, len(body) - 1)
    height = relative_height(np.arange(len(body)), lowest, highest)
    return np.asarray(np.interp(_COMPARED_HEIGHTS, height, body), np.float64)


def _measured(name: str, values: NDArray[np.float64], unit: str, floor: float = 0.0) -> _Property:
    """Return a property with a unit; `floor` is the smallest spread that is assumed."""
    usual = float(np.median(values))
    apart = np.abs(values - usual)
    spread = max(floor, _MAD_TO_STD * float(np.median(apart)), _LEAST_SPREAD * abs(usual), 1e-9)
    texts = [f"{name} {value:.3g}{unit}, usually {usual:.3g}" for value in values]
    return _Property(distance=apart / spread, texts=texts)


def _named(name: str, values: list[str]) -> _Property:
    """Return a property without an order: its distance is the surprise in bits."""
    counts = Counter(values)
    ((usual, _),) = counts.most_common(1)
    bits = {value: -np.log2(count / len(values)) for value, count in counts.items()}
    return _Property(
        distance=np.array([bits[value] for value in values]),
        texts=[f"{name} {value}, usually {usual}" for value in values],
    )
