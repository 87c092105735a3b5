"""The state that a run starts or continues from, and the contrast table that goes with it."""

from collections.abc import Callable

from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml
from cyclegan.contrast.guide import fill_guide
from cyclegan.contrast.run_table import fit_missing_table
from cyclegan.contrast.table import ContrastTable
from cyclegan.contrast.table_file import TABLE_FILE, KeptTable
from cyclegan.errors import TableError
from cyclegan.nets.guided_generator import GuidedGenerator
from cyclegan.train.checkpoint import checkpoint
from cyclegan.train.checkpoint.initial_weights import initial_weights, load_initial_weights
from cyclegan.train.checkpoint.resume import START_CHECKPOINT, start_checkpoint
from cyclegan.train.checkpoint.run_record import (
    record_environment,
    record_subjects,
    table_of_run,
)
from cyclegan.train.distributed import Worker, broadcast_choice
from cyclegan.train.engine.state import TrainState
from cyclegan.train.true_pairs import prepare_companions
from data_prep.store.store import Store
from data_prep.store.subject_record import SubjectRecord
from mrct.storage.paths import StoragePath, storage_path


def resume_run(
    state: TrainState,
    config: Config,
    worker: Worker,
    store: Store,
    steps: int,
    start: StoragePath | None,
    note: Callable[[str], None],
) -> bool:
    """Restore the newest intact checkpoint of the run, else `start`, else load `train.init`; worker
    0 chooses for all.

    Args:
        state: State at step 0, changed in place.
        config: Configuration of the run.
        worker: This worker.
        store: The run's store.
        steps: Optimizer steps of the whole run.
        start: Checkpoint of another run, if the run starts from one.
        note: Called with messages for the user.

    Returns:
        Whether the run has a checkpoint of its own.
    """

    def choose() -> str:
        # The command has fitted it by Ray tasks already; a run without Ray does it here.
        if config.generator.guide != "none":
            fit_missing_table(config.run_folder, store, 0, note)
        prepare_companions(config, store, note)
        return str(checkpoint.newest_checkpoint(config.run_folder) or "")

    own = broadcast_choice(choose, worker)
    kept = table_of_run(config.run_folder)
    subjects: tuple[SubjectRecord, ...] = ()
    if kept:
        guide_generators(state, config, kept.table)
    if found := own or str(start or ""):
        checkpoint.restore_checkpoint(state, storage_path(found))
    elif config.train.init:
        weights = initial_weights(config, store, steps)
        load_initial_weights(state, weights)
        subjects = weights.subjects
        for line in weights.notes:
            note(line)
    take_table(state, config.run_folder, kept, named=state.contrast_table if own else "")
    if worker.is_rank_zero:
        config.run_folder.make_folder()
        checkpoint.remove_partial_checkpoints(config.run_folder)
        if start and not own:
            (config.run_folder / START_CHECKPOINT).put(str(start).encode())
        (config.run_folder / "config.yaml").put(to_yaml(config).encode())
        record_environment(config.run_folder, store, worker.world_size)
        start = start_checkpoint(config.run_folder)
        record_subjects(config.run_folder, store, start, subjects)
    return bool(own)


def guide_generators(state: TrainState, config: Config, table: ContrastTable) -> None:
    """Let the generators of a state, if they are guided, look up what a table says."""
    for generators in (state.generators, state.mean):
        if isinstance(generators.to_ct, GuidedGenerator):
            fill_guide(
                generators.to_ct.guide,
                table,
                by_value=config.generator.guide == "table",
                mri_contrast=config.data.mri_contrast,
            )


def take_table(
    state: TrainState, run_folder: StoragePath, kept: KeptTable | None, named: str
) -> None:
    """Let the checkpoints from now on name the contrast table of the run.

    Args:
        state: State of the run, to be saved.
        run_folder: Folder of the run.
        kept: Its table, if it has one.
        named: SHA-256 of the table that the restored checkpoint names, if it names one.

    Raises:
        TableError: The table is another than the one that is named.
    """
    state.contrast_table = kept.sha256 if kept else ""
    if named not in ("", state.contrast_table):
        raise TableError(
            f"The newest checkpoint of {run_folder} names the contrast table {named}, but "
            f"{TABLE_FILE} there is {state.contrast_table or 'missing'}. Restore the file from a "
            "copy, or start a new run: --run.name NAME."
        )
