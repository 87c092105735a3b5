"""The contrast table of a run: fitted to the volumes it began with, and kept in its folder."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from cyclegan.config.files import load_config
from cyclegan.config.run_location import store_moves_explained
from cyclegan.contrast.command import ContrastCommand
from cyclegan.contrast.table import LEAST_GAIN
from cyclegan.contrast.table_file import TABLE_FILE, parse_table, read_table, table_bytes
from cyclegan.contrast.train_table import TrainTable, fit_train_table
from cyclegan.errors import TableError
from cyclegan.train.checkpoint.checkpoint import saved_checkpoints
from cyclegan.train.checkpoint.resume import run_lock
from cyclegan.train.checkpoint.run_record import store_of_run, table_of_run
from data_prep.store.store import Store, open_store
from mrct.errors import ExitCode
from mrct.imaging.modality import MODALITIES
from mrct.progress import say_state
from mrct.storage.paths import StoragePath


def fit_run_table(command: ContrastCommand) -> ExitCode:
    """Fit the table, keep it and print how the fit went; nothing is done where there is one."""
    folder = command.run_folder
    path = folder / TABLE_FILE
    config = load_config(folder / "config.yaml")
    with store_moves_explained(config, "--store"):
        store = open_store(command.store or config.store)
    with _cluster(command.workers), run_lock(folder):
        if not command.overwrite and (kept := read_table(path)):
            print(f"{path} is there (SHA-256 {kept.sha256}). --overwrite fits it again.")
            return ExitCode.DONE
        store = store_of_run(folder, store)
        counts = [len(store.select(modality, "train")) for modality in MODALITIES]
        say_state(f"Fitting the table to {counts[0]} MRIs and {counts[1]} CTs")
        print("\n".join(keep_run_table(folder, store, command.workers)))
    print(f"  python -m cyclegan.evaluate {folder}\n  python -m cyclegan.export {folder} --table")
    return ExitCode.DONE


def keep_run_table(folder: StoragePath, store: Store, workers: int | None) -> list[str]:
    """Fit the table of a run and keep it in its folder; return sentences about the fit.

    Args:
        folder: Folder of the run.
        store: Store with the volumes that the run began with.
        workers: As for `fit_train_table`, whose errors it has.
    """
    fitted, path = fit_train_table(store, workers), folder / TABLE_FILE
    content = table_bytes(
        fitted.table, store_fingerprint=store.fingerprint, store_contents=store.contents
    )
    folder.make_folder()
    path.put(content)
    return [*lines_of(fitted), f"Table: {path} (SHA-256 {parse_table(content, path).sha256})"]


def fit_missing_table(
    folder: StoragePath, store: Store, workers: int | None, note: Callable[[str], None]
) -> None:
    """Fit the table that guided generators start from, if the run has none.

    Args:
        folder: Folder of the run, or of a search whose trials all start from the table.
        store: Store with the volumes that the run begins or began with.
        workers: As for `fit_train_table`, whose errors it has.
        note: Called with sentences about the fit.

    Raises:
        TableError: The run has begun, with a table of other volumes.
    """
    kept = table_of_run(folder)
    if kept and kept.store_contents == store.contents:
        return
    # Without a checkpoint it is that of a start that ended before the run began.
    if kept and saved_checkpoints(folder):
        raise TableError(
            f"{folder / TABLE_FILE} was fitted to other volumes (index {kept.store_contents}) than "
            f"those of {store.path.name} ({store.contents}). The checkpoints of the run need this "
            "table. Restore environment.json, the run's record of its volumes, from a copy, or "
            "start a new run: --run.name NAME."
        )
    note("Fitting the contrast table that the generator MRI -> CT begins with")
    for line in keep_run_table(folder, store, workers):
        note(line)


def _cluster(workers: int | None) -> AbstractContextManager[object]:
    if workers == 0:
        return nullcontext()
    from mrct.ray_session import named_cluster  # takes seconds, and workers=0 does without

    return named_cluster()


def lines_of(fitted: TrainTable) -> list[str]:
    """Return sentences about the fit, warnings last."""
    least = fitted.table.findings.get(LEAST_GAIN, 0.0)
    unlike = [
        f"warning: {name} is unlike the other MRIs at its positions ({gain:.3f} nats a voxel, "
        f"usually at least {least:.3f}). Look at its body mask and contrast."
        for name, gain in fitted.unlikely.items()
    ]
    left_out = [f"warning: Left out: {why}" for why in fitted.left_out]
    return [*fitted.table.sentences(), *unlike, *left_out]
