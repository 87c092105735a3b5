"""The axis of heights of a store, in one sealed file beside the index.

It is fitted to the outlines of the train split when a conversion has ended, and never moves by
itself: what is appended is placed on it. The index has where each volume lies, and the axis's hash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.preprocess.axis_fit import fit_axis, scans_to_fit
from data_prep.preprocess.height_axis import (
    IN_EACH_FIELD_OF_VIEW,
    HeightAxis,
    Placement,
    sizes_by_mm,
)
from data_prep.store.commits import seal, unseal
from data_prep.store.index import Volumes
from data_prep.store.stored_volume import StoredVolume
from mrct.errors import StoreError, UsageError
from mrct.imaging.modality import MODALITIES
from mrct.imaging.volume import spacing_of
from mrct.storage.paths import StoragePath

HEIGHTS_FILE = "heights.json"
HEIGHTS_VERSION = 1
"""Of the file, and of how volumes are placed on an axis."""
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAxis:
    """The axis of a store, as its file has it."""

    axis: HeightAxis
    subjects: frozenset[str]
    """Those whose outlines are in its mean."""


class PlacedVolumes(Volumes):
    """Volumes of an index with their heights on another axis than that of their store."""

    def __init__(
        self, volumes: Volumes, axis: HeightAxis, rows: NDArray[np.int64] | None = None
    ) -> None:
        super().__init__(volumes._index, volumes._rows if rows is None else rows)
        self._axis = axis

    def column(self, name: str) -> NDArray[Any]:
        """Return one fact of all volumes, [volumes, ...]."""
        if name in ("lowest", "highest"):
            return np.array([getattr(volume, name) for volume in self], np.float64)
        return super().column(name)

    def _of(self, rows: NDArray[np.int64]) -> Volumes:
        return PlacedVolumes(self, self._axis, rows)

    def _volume(self, row: int) -> StoredVolume:
        return super()._volume(row).on(self._axis)


def axis_content(axis: HeightAxis, subjects: Sequence[str] = ()) -> bytes:
    """Return the sealed file of an axis."""
    document = {"version": HEIGHTS_VERSION, "axis": asdict(axis), "subjects": subjects}
    return seal(document)


def read_heights(store: StoragePath) -> KeptAxis | None:
    """Return the axis of a store, or that a run keeps; None if there is none yet.

    Raises:
        StoreError: The file was changed, or is of another version.
    """
    path = store / HEIGHTS_FILE
    if not path.exists():
        return None
    document = unseal(path.read_bytes(), path, store)
    try:
        if document["version"] != HEIGHTS_VERSION:
            raise ValueError(f"version {document['version']}, not {HEIGHTS_VERSION}")
        values = document["axis"] | {"sizes_mm": tuple(map(tuple, document["axis"]["sizes_mm"]))}
        return KeptAxis(axis=HeightAxis(**values), subjects=frozenset(document["subjects"]))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise StoreError(
            f"The heights {path} cannot be read ({error}). Run `python -m data_prep heights "
            f"{store} --refit` to fit them again."
        ) from error


def axis_of_index(store: StoragePath, sha256: str) -> HeightAxis:
    """Return the axis on which an index has placed its volumes; `sha256` is its hash.

    Raises:
        StoreError: The store has another axis.
    """
    kept = read_heights(store)
    axis = kept.axis if kept else IN_EACH_FIELD_OF_VIEW
    if axis.sha256 != sha256:
        raise StoreError(
            f"The file {HEIGHTS_FILE} of {store} and its index do not belong together: the command "
            "that changes them is running, or was killed, or one of them was lost. Unless it is "
            f"running, run `python -m data_prep check {store} --repair` to place the volumes again."
        )
    return axis


def axis_of_store(
    store: StoragePath, records: Sequence[Record], removed: set[str], *, fit: bool
) -> KeptAxis | None:
    """Return the axis on which the volumes of a store are to be placed; None if it has none yet.

    With `fit` it is fitted if that was not done yet. Where one of the `removed` subjects is in its
    mean, it is fitted again, so that nothing of the subject stays.
    """
    kept = read_heights(store)
    if kept is None:
        return fit_heights(records) if fit else None
    return fit_heights(records) if kept.subjects & removed else kept


def fit_heights(records: Sequence[Record]) -> KeptAxis | None:
    """Return the axis of the train split; None if it lacks a domain, which training needs."""
    train = [
        [r["volume"] for r in records if (r["volume"]["split"], r["volume"]["modality"]) == each]
        for each in (("train", modality) for modality in MODALITIES)
    ]
    if not all(train):
        return None
    fitted = [volumes[at] for volumes in train for at in scans_to_fit(len(volumes))]
    axis = fit_axis(
        [sizes_by_mm(np.array(v["outline"]), spacing_of(np.array(v["affine"]))) for v in fitted],
        [v["subject"] for v in fitted],
    )
    subjects = {volume["subject"] for volume in fitted} if axis.sizes_mm else set()
    return KeptAxis(axis=axis, subjects=frozenset(subjects))


def placement_of(volume: Record, axis: HeightAxis) -> Placement:
    """Return where the volume of a record lies on an axis."""
    return axis.place(np.array(volume["outline"]), spacing_of(np.array(volume["affine"])))
