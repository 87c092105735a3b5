"""Which volumes and slices of a store serve one domain of a run."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclegan.config.config import DataConfig
from cyclegan.data.slice_index import SliceTable
from cyclegan.errors import DataError
from data_prep.datasets.split import Split
from data_prep.store.index import Volumes
from data_prep.store.store import Store, StoredVolume
from mrct.imaging.volume import Modality

VOLUMES_AT_ONCE = 1024
"""Volumes whose slices are looked at together: facts of all slices would fill memory."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Domain:
    """The volumes of one modality and split, and the slices of them that are shown."""

    volumes: Sequence[StoredVolume]
    table: SliceTable
    """Its volume numbers count in `volumes`."""


def find_domain(store: Store, config: DataConfig, modality: Modality, split: Split) -> Domain:
    """All slices with enough body and contrast in them, of all volumes that may serve the domain.

    Raises:
        DataError: There are none; says why, and which setting or command mends it.
    """
    volumes = _serving(store, config, modality, split)
    parts = [
        volumes[start : start + VOLUMES_AT_ONCE]
        for start in range(0, len(volumes), VOLUMES_AT_ONCE)
    ]
    tables = [_shown(part, config) for part in parts]
    if not any(len(table) for table in tables):
        has_body = any(_with_body(part, config).any() for part in parts)
        raise _empty(store, config, modality, split, len(volumes), has_body)
    return Domain(volumes=volumes, table=SliceTable.joined(tables, [len(part) for part in parts]))


def _shown(volumes: Volumes, config: DataConfig) -> SliceTable:
    depth = volumes.depths
    starts = depth.cumsum() - depth
    height = volumes.of_slices("height")
    return SliceTable.of_volumes(
        _with_body(volumes, config) & (volumes.of_slices("deviation") >= config.min_deviation),
        depth,
        # All below the lowest slice with body have height 0 as well, all above the highest 1.
        lowest=np.add.reduceat(height == 0, starts, dtype=np.int64) - 1,
        highest=depth - np.add.reduceat(height == 1, starts, dtype=np.int64),
    )


def _with_body(volumes: Volumes, config: DataConfig) -> NDArray[np.bool_]:
    return volumes.of_slices("body_fraction") >= config.min_body_fraction


def _serving(store: Store, config: DataConfig, modality: Modality, split: Split) -> Volumes:
    """In training, a subject with both scans serves one domain only: unpaired means unpaired."""
    volumes = store.select(modality, split)
    if split != "train" or config.allow_paired_train:
        return volumes
    subjects = volumes.texts("subject")
    paired = np.isin(
        subjects, store.select("ct" if modality == "mri" else "mri", split).texts("subject")
    )
    lost = [_kept(subject.decode()) != modality for subject in subjects[paired]]
    paired[paired] = lost
    return volumes.where(~paired)


def _kept(subject: str) -> Modality:
    """The modality that a paired subject keeps: by its name alone, so that it never changes."""
    return "ct" if hashlib.sha256(subject.encode()).digest()[0] % 2 else "mri"


def _empty(
    store: Store,
    config: DataConfig,
    modality: Modality,
    split: Split,
    num_serving: int,
    has_body: bool,
) -> DataError:
    name = modality.upper()
    num_stored = len(store.select(modality, split))
    found = f"{num_stored} {name} volumes are in that split"
    if not num_stored:
        remedy = (
            f"Convert {name} volumes too, or give some `{split}` in the manifest's split column:\n"
            f"  python -m data_prep convert --mri DIR --ct DIR --out {store.path}"
        )
    elif not num_serving:
        found += ", all of subjects whose other scan is used"
        remedy = "Let them serve both domains with --data.allow-paired-train, or add subjects."
    elif has_body:
        found += (
            f", but no slice with enough body deviates by {config.min_deviation:g} or more: "
            "each is of one grey"
        )
        remedy = (
            "Lower --data.min-deviation, or look at what the store holds:\n"
            f"  python -m data_prep describe {store.path}"
        )
    else:
        found += f", but no slice of them is body to {config.min_body_fraction:.0%} or more"
        remedy = (
            "Lower --data.min-body-fraction, or look at what the store holds:\n"
            f"  python -m data_prep describe {store.path}"
        )
    return DataError(
        f"There is no {name} slice in the {split} split of {store.path}: {found}. "
        f"Unpaired translation learns from both domains. {remedy}"
    )
