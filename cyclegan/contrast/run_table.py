"""The contrast table of a run: fitted to the volumes it began with, and kept in its folder."""

from contextlib import AbstractContextManager, nullcontext

from cyclegan.config.files import load_config
from cyclegan.config.run_location import store_moves_explained
from cyclegan.contrast.command import ContrastCommand
from cyclegan.contrast.table import LEAST_GAIN
from cyclegan.contrast.table_file import TABLE_FILE, parse_table, read_table, table_bytes
from cyclegan.contrast.train_table import TrainTable, fit_train_table
from cyclegan.train.checkpoint.resume import run_lock
from cyclegan.train.checkpoint.run_record import store_of_run
from data_prep.store.store import open_store
from mrct.errors import ExitCode
from mrct.imaging.modality import MODALITIES
from mrct.progress import say_state


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
        fitted = fit_train_table(store, command.workers)
        content = table_bytes(
            fitted.table, store_fingerprint=store.fingerprint, store_contents=store.contents
        )
        path.put(content)
    sha256 = parse_table(content, path).sha256
    print("\n".join([*lines_of(fitted), f"Table: {path} (SHA-256 {sha256})"]))
    print(f"  python -m cyclegan.evaluate {folder}\n  python -m cyclegan.export {folder} --table")
    return ExitCode.DONE


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
