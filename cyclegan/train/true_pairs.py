"""The companions that a run learns from: true pairs are written to the store, and all recorded."""

import json
from collections.abc import Callable, Mapping

import numpy as np

from cyclegan.config.config import Config
from cyclegan.data.companion_source import PAIRED_FROM, PAIRED_KEY, companions_of
from cyclegan.errors import ConfigError, DataError
from cyclegan.inference.cycle import field_of_view
from cyclegan.metrics.paired_scores import dice
from data_prep.store.commits import digest
from data_prep.store.companions.cache import put_group
from data_prep.store.companions.group import (
    TRUSTED,
    Companion,
    EncodedGroup,
    SourceVolume,
    encode_group,
    read_group,
)
from data_prep.store.store import Store, StoredVolume
from mrct.errors import StoreError
from mrct.storage.json_text import parse_json
from mrct.storage.paths import StoragePath

COMPANIONS_RECORD = "companions.json"
"""File in the run folder with the hash of the companions that the run began with."""


def prepare_companions(config: Config, store: Store, note: Callable[[str], None]) -> None:
    """Write the true pairs that are missing to the store, and check that the run keeps its own.

    Args:
        config: Configuration of the run.
        store: Store with the volumes of the run.
        note: Called with a line for each pair that is left out.

    Raises:
        DataError: There is nothing to learn from, or a companion is not of the train split.
        ConfigError: The run began with other companions.
        StoreError: A volume is damaged, or a pair lies on two grids.
    """
    if not config.data.has_companions:
        return
    if config.data.use_pairs:
        write_pairs(store, config.data.min_pair_overlap, note)
    found = companions_of(store, config.data)
    for kind, is_wanted, remedy in (
        ("paired", config.data.use_pairs, "Link scans of the same subjects when you convert"),
        ("warped", bool(config.data.companions), "Check --data.companions"),
    ):
        count = sum(each.kind == kind for each in found.values())
        if is_wanted and not count:
            raise DataError(
                f"No MRI of the train split of {store.path} has a {kind} CT to learn from (pairs "
                f"need an overlap of {config.data.min_pair_overlap:g}). {remedy}, or train "
                "without: --data.no-use-pairs --loss.paired.no-enabled, or "
                "--loss.anchor.no-enabled --data.companions ''."
            )
        if count:
            note(f"{count} MRIs have {kind} CTs to learn from")
    require_same_companions(config.run_folder, found)


def write_pairs(store: Store, least: float, note: Callable[[str], None]) -> None:
    """Write the linked pairs of the train split as companions, those that are not there yet.

    Pairs of other splits are not looked at.

    Args:
        store: Store with the volumes.
        least: Overlap below which a pair is named as left out.
        note: Called with these lines.
    """
    for mri in store.select("mri", "train"):
        ct = store.partner(mri)
        if ct is None or ct.split != "train":
            continue
        kept = kept_pair(store, mri, ct)
        overlap = kept.quality[0] if kept else write_pair(store, mri, ct)
        if overlap < least:
            note(
                f"{mri.name} and its CT do not teach as a pair: the Dice of their outlines is "
                f"{overlap:.2f}, less than --data.min-pair-overlap {least:g}"
            )


def kept_pair(store: Store, mri: StoredVolume, ct: StoredVolume) -> Companion | None:
    """Return the companion of a pair as it was written, if it is whole and of these volumes."""
    try:
        kept = read_group(store.path, PAIRED_KEY, mri.name)
        if kept:
            kept.verify()
        return kept if kept and kept.cts[0].name == ct.name else None
    except StoreError:  # it is written again
        return None


def write_pair(store: Store, mri: StoredVolume, ct: StoredVolume) -> float:
    """Write a pair as a companion of its MRI, and return the Dice of the outlines of both."""
    group, overlap = encode_pair(store, mri, ct)
    put_group(store.path, group)
    return overlap


def encode_pair(store: Store, mri: StoredVolume, ct: StoredVolume) -> tuple[EncodedGroup, float]:
    """Return a pair as a companion of its MRI, and the Dice of the outlines of both.

    Both are on one grid since their conversion. Trusted are the voxels of the MRI's body that both
    scans saw.
    """
    # Before the voxels: what is converted again meanwhile makes the pair stale.
    sources = [SourceVolume.of(store.path, volume.name) for volume in (mri, ct)]
    seen = field_of_view(mri) & field_of_view(ct)
    body = store.body(mri).astype(bool) & seen
    overlap = dice(body, store.body(ct).astype(bool) & seen)
    group = encode_group(
        kind="paired",
        mri=sources[0],
        cts=sources[1:],
        hu=store.voxels(ct)[None],
        weight=(body * TRUSTED).astype(np.uint8)[None],
        quality=[overlap],
        made_from=PAIRED_FROM,
    )
    return group, overlap


def require_same_companions(run_folder: StoragePath, found: Mapping[str, Companion]) -> None:
    """Record the companions of a new run, or compare them with those that it began with.

    Raises:
        ConfigError: They are others, or the record is damaged.
    """
    now = digest({name: each.sha256 for name, each in found.items()})
    path = run_folder / COMPANIONS_RECORD
    try:
        before = parse_json(path.read_bytes())["companions"] if path.exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error!r}): which companions of its MRIs the run began with is "
            "not known. If the store has not changed since, delete the file; else start a new run: "
            "--run.name NAME."
        ) from error
    if before not in (None, now):
        raise ConfigError(
            f"Run {run_folder.name} began with other companions of its MRIs (pairs, warped CTs) "
            f"than the store has now: {path} names {before}, not {now}. Later steps would learn "
            "from other CTs. Start a new run: --run.name NAME."
        )
    run_folder.make_folder()
    path.put(json.dumps({"companions": now, "mris": len(found)}).encode())
