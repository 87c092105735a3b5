"""Runs the command: the table, the warps, and what to say about them."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from cyclegan.anchor.command import AnchorCommand
from cyclegan.anchor.picture import save_picture
from cyclegan.anchor.stage import Anchored, GoBetween, warp_train_split
from cyclegan.contrast.table_file import KeptTable, parse_table, table_bytes
from cyclegan.contrast.train_table import fit_train_table
from cyclegan.errors import TableError
from cyclegan.evaluate.model_under_test import ModelUnderTest, open_model_under_test
from cyclegan.inference.slices import best_device
from cyclegan.train.checkpoint.run_record import store_of_run, table_of_run
from data_prep.store.companions.cache import Companions, open_companions
from data_prep.store.companions.group import COMPANIONS
from data_prep.store.store import Store, open_store
from mrct.errors import ExitCode
from mrct.progress import say_state

MUCH_MISMATCH = 0.15
"""Share of both bodies that only one has, from which a warp is worth a look."""
MOST_WARNINGS = 10


def anchor(command: AnchorCommand) -> ExitCode:
    """Warp what is missing and print how it went."""
    store = open_store(command.store)
    if command.run:
        store = store_of_run(command.run, store)
    with _cluster(command.workers):
        between = _between(command, store)
        found = warp_train_split(
            store, between, ct_per_mri=command.ct_per_mri, workers=command.workers
        )
    for line in _warnings(found):
        print(line, file=sys.stderr)
    companions = open_companions(store.path, found.key)
    print("\n".join(_summary(found, companions)))
    if not found.warped and not found.kept:
        return ExitCode.FAILED
    path = command.picture or command.store.beside(".warps.png")
    save_picture(store, companions, between, path)
    print(f"Picture: {path}")
    print(f"Warps: {store.path / COMPANIONS / found.key} (SHA-256 {companions.hash})")
    print(
        f"  python -m cyclegan.train --data.store {store.path} --data.companions {found.key} "
        "--loss.anchor.enabled"
    )
    return ExitCode.PARTLY_DONE if found.problems else ExitCode.DONE


def _between(command: AnchorCommand, store: Store) -> GoBetween:
    """Return what CTs are registered to; the table says how likely an MRI value is in any case."""
    model: ModelUnderTest | None = None
    if command.model:
        model = open_model_under_test(command.model, store, best_device())
    kept = _table(command, store)
    if model is None:
        return GoBetween(table=kept)
    networks = model.networks
    return GoBetween(
        table=kept,
        model_sha256=model.sha256,
        translate=lambda mri: networks.translated(store.voxels(mri), store.body(mri), mri)[1],
    )


def _table(command: AnchorCommand, store: Store) -> KeptTable:
    if command.run:
        if kept := table_of_run(command.run):
            return kept
        raise TableError(
            f"The run {command.run} has no contrast table. Fit it: python -m cyclegan.contrast "
            f"{command.run}"
        )
    say_state("Fitting the contrast table to the train split")
    fitted = fit_train_table(store, command.workers)
    content = table_bytes(
        fitted.table, store_fingerprint=store.fingerprint, store_contents=store.contents
    )
    return parse_table(content, "of the train split")


def _warnings(found: Anchored) -> Iterator[str]:
    """Yield a line for each MRI without warps, for warps that were made again, and warnings."""
    yield from (f"warning: Made again: {why}" for why in found.remade)
    yield from (f"warning: Not warped: {why}" for why in found.problems)
    odd = [each for each in found.warped if np.median(each.mismatch) > MUCH_MISMATCH]
    for each in odd[:MOST_WARNINGS]:
        yield (
            f"warning: The outlines of {each.mri} and of the CTs warped onto it differ by "
            f"{np.median(each.mismatch):.0%}. Look at its body mask: python -m data_prep describe "
            "STORE --picture FILE"
        )
    if len(odd) > MOST_WARNINGS:
        yield f"warning: So do those of {len(odd) - MOST_WARNINGS} more."


def _summary(found: Anchored, companions: Companions) -> Iterator[str]:
    made, failed = found.warped, len(found.problems)
    count = sum(len(each.nats) for each in made)
    kept = f", {len(found.kept)} MRIs had theirs" if found.kept else ""
    lost = f", {failed} MRIs have none" if failed else ""
    yield f"{count} CTs warped onto {len(made)} MRIs{kept}{lost}"
    nats = [value for each in companions.by_mri.values() for value in each.quality]
    if nats:
        low, middle, high = np.percentile(nats, [0, 50, 100])
        yield (
            f"Log-likelihood of the MRIs under them: median {middle:.2f} nats a voxel, "
            f"{low:.2f} to {high:.2f}"
        )
    mismatch = [value for each in made for value in each.mismatch]
    if mismatch:
        worst = max(made, key=lambda each: max(each.mismatch))
        yield (
            f"Outlines differ by {np.median(mismatch):.1%} of the bodies (median), by "
            f"{max(worst.mismatch):.1%} at most ({worst.mri})"
        )


def _cluster(workers: int | None) -> AbstractContextManager[object]:
    if workers == 0:
        return nullcontext()
    from mrct.ray_session import named_cluster  # takes seconds, and workers=0 does without

    return named_cluster()
