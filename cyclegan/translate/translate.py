"""Translate all given volumes with a model, each on its own grid."""

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cyclegan.export.formats import Format as File
from cyclegan.export.metadata import DIRECTION_OF_FLAG, Direction
from cyclegan.export.model_folder import (
    SUMS,
    ExportedModel,
    is_of_both,
    model_folder_of,
    read_model,
)
from cyclegan.export.table_model import is_table_model, read_table_model
from cyclegan.inference.slices import best_device
from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.engine import (
    CompiledNetwork,
    TableEngine,
    TranslationEngine,
    obstacle_to_compiling,
)
from cyclegan.translate.inputs import Input, find_inputs
from cyclegan.translate.pipelining import run_pipelined
from cyclegan.translate.stages import TranslatedInput, TranslationJob, TranslationOutcome
from cyclegan.translate.summary import (
    list_result,
    listed_results,
    mend_list,
    print_summary,
    write_translation_id_map,
)
from data_prep.convert.pseudonyms import open_key
from data_prep.convert.quarantine import Quarantine, Refusal
from data_prep.store.store import sha256_of
from mrct.errors import ExitCode, UsageError
from mrct.imaging.modality import Modality
from mrct.process_pool import ProcessPool
from mrct.progress import progress, say_state
from mrct.storage.atomic import remove_abandoned
from mrct.storage.local_path import LocalPath, make_output_folder
from mrct.storage.lock import wait_for_lock

FORMAT_OF_ENGINE: dict[str, File] = {"torch": "safetensors", "onnxruntime": "onnx"}


def translate_inputs(command: TranslateCommand) -> ExitCode:
    """Translate all inputs; one that cannot be used does not stop the others."""
    several = command.processes > 1
    engine = open_job(command, works_here=not several)
    info = engine.info
    print(info.seen_line, flush=True)
    say_state("Looking for inputs")
    found = find_inputs(
        command.inputs,
        command.out,
        info.source,
        command.split,
        info.preprocessing,
        command.leniency,
    )
    make_output_folder(command.out)
    remove_abandoned(command.out)
    mend_list(command.out)
    outcomes: list[TranslationOutcome] = []
    # Private files are beside the results, not among them, since results may be shared.
    out = LocalPath(command.out).absolute()
    quarantine = Quarantine(path=out.beside(".quarantine.jsonl"))
    id_map = out.beside(".id-map.csv")
    write_translation_id_map((), id_map)  # another file there is an error now, not after the work
    if command.deidentify:
        open_key(out.beside(".key"))  # before any process does
    labels = Counter(item.label for item in found.inputs)
    processes = min(command.processes, len(found.inputs))
    with ExitStack() as opened:
        advance = opened.enter_context(progress("translate", total=len(found.inputs)))
        if processes > 1:
            threads = torch.get_num_threads() // processes
            locks = LocalPath(opened.enter_context(TemporaryDirectory()))
            done = ProcessPool(
                items=found.inputs,
                open_work=partial(open_work, command, labels, threads, locks),
                give_up=partial(died, info.source),
                processes=processes,
            ).run()
        else:
            engine = open_job(command) if several else engine
            job = translation_job(command, engine, labels, partial(advance, 0))
            done = work(job, found.inputs)
        # Else an error here keeps it, and the end of the interpreter waits for its processes.
        for outcome in opened.enter_context(closing(done)):
            if outcome.refusal:
                quarantine.add(outcome.refusal, outcome.input.path)
            outcomes.append(outcome)
            advance()
    write_translation_id_map(outcomes, id_map)
    print_summary(outcomes, found.left, command.out)
    if all(outcome.result for outcome in outcomes):
        return ExitCode.DONE
    return ExitCode.PARTLY_DONE if any(o.result for o in outcomes) else ExitCode.FAILED


def translation_job(
    command: TranslateCommand,
    engine: TranslationEngine | TableEngine,
    labels: Counter[str],
    progress_lines: Callable[[str], None] = lambda text: None,
) -> TranslationJob:
    """Return the job of a command; `labels` counts the inputs with each label."""
    out = LocalPath(command.out).absolute()
    return TranslationJob(
        engine=engine,
        inverse=inverse_of(command, engine),
        out=command.out,
        made_by=sha256_of(model_folder_of(command.model, engine.info.direction) / SUMS)[:16],
        format=command.format,
        axial=command.axial,
        keep_names=command.keep_names,
        overwrite=command.overwrite,
        uncertainty=command.uncertainty,
        preview=command.preview,
        key=open_key(out.beside(".key")) if command.deidentify else None,
        labels=labels,
        listed=listed_results(command.out),
        read_list=partial(listed_results, command.out),
        progress_lines=progress_lines,
    )


def work(
    job: TranslationJob, items: Iterable[Input], locks: LocalPath | None = None
) -> Generator[TranslationOutcome, None, None]:
    """Translate inputs, in order: while one is in the network the next is read and the last one
    written.

    Where other processes do so too, all have one folder of `locks`, so that of equal inputs, which
    have one result, the second finds that of the first.
    """

    def write(stage: TranslatedInput | TranslationOutcome) -> TranslationOutcome:
        """Write a result and list it at once, since the process may be killed before the next."""
        if isinstance(stage, TranslationOutcome):
            return stage
        with wait_for_lock(locks / stage.loaded.result.path.name) if locks else nullcontext():
            outcome = job.write(stage)
            if outcome.is_new:
                list_result(outcome, job.out)
        return outcome

    return run_pipelined(items, job.read, job.translate, write)


def open_work(
    command: TranslateCommand, labels: Counter[str], threads: int, locks: LocalPath
) -> Callable[[Iterator[Input]], Iterator[TranslationOutcome]]:
    """Open the model in one of several processes, with its share of the threads."""
    torch.set_num_threads(max(1, threads))
    return partial(work, translation_job(command, open_job(command), labels), locks=locks)


def died(source: Modality, item: Input) -> TranslationOutcome:
    """Return the refusal of an input that processes died of."""
    refusal = Refusal(
        number=item.number,
        name=source,
        sha256="",
        code="process-died",
        reason="Two processes ended while they had this input: memory may have run out.",
        remedy="Translate it alone, without --processes, or with a smaller --batch-size.",
    )
    return TranslationOutcome(input=item, refusal=refusal)


def open_job(
    command: TranslateCommand, *, works_here: bool = True
) -> TranslationEngine | TableEngine:
    """Open the model with the options of the command.

    Unless it `works_here`, this process only asks what the model is, and opens it on the CPU: the
    GPU's memory is for those that work.

    Raises:
        UsageError: The options do not fit the machine or the model.
        ModelError: There is no such model, or it is damaged.
    """
    device, on_onnx = command.device, command.engine == "onnxruntime"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda, but torch finds no CUDA device here. Use --device cpu.")
    if on_onnx and (device == "cuda" or command.precision != "fp32"):
        raise UsageError(
            "--engine onnxruntime runs on the CPU in fp32. Leave out --device and --precision, or "
            "use --engine torch."
        )
    where: str = device
    if not works_here or (device == "auto" and on_onnx):
        where = "cpu"
    elif device == "auto":
        where = best_device().type
    direction = DIRECTION_OF_FLAG[command.direction] if command.direction else None
    folder = model_folder_of(command.model, direction)
    if (folder / SUMS).is_file() and is_table_model(folder):
        return open_table(command, folder)
    model = read_model(folder, FORMAT_OF_ENGINE[command.engine], where)
    if direction and model.info.direction != direction:
        raise UsageError(
            f"--direction is {command.direction}, but this is a {model.info.direction} model."
        )
    if command.format == "dicom" and model.info.target != "ct":
        raise UsageError(
            "--format dicom writes CT series, and this model makes MRIs. Give --format nifti."
        )
    if command.compile and works_here:
        model = compile_engine(model, command)
    return TranslationEngine(
        model=model,
        batch_size=command.batch_size,
        precision=command.precision,
        air_outside=command.outside_body == "air",
    )


def open_table(command: TranslateCommand, folder: Path) -> TableEngine:
    """Open a contrast table, which has no network for most options.

    Raises:
        UsageError: An option needs a network.
    """
    needs_network = {
        "--direction ct-to-mri": command.direction == "ct-to-mri",
        "--uncertainty": command.uncertainty,
        "--outside-body network": command.outside_body == "network",
        "--engine onnxruntime": command.engine == "onnxruntime",
        "--compile": command.compile,
        "--precision bf16": command.precision == "bf16",
        "--device cuda": command.device == "cuda",
    }
    if given := [option for option, is_given in needs_network.items() if is_given]:
        raise UsageError(
            f"{folder} is a contrast table, which runs on the CPU without a network. Leave out "
            f"{' and '.join(given)}."
        )
    return TableEngine(model=read_table_model(folder))


def compile_engine(model: ExportedModel, command: TranslateCommand) -> ExportedModel:
    """Return the model with its network compiled, or unchanged if it cannot be compiled."""
    if command.engine != "torch":
        raise UsageError("--compile requires --engine torch. Omit one of the two options.")
    if obstacle := obstacle_to_compiling(model.device):
        print(f"{obstacle}: the network runs in eager mode, which is slower.", file=sys.stderr)
        return model
    assert isinstance(model.network, torch.nn.Module)
    return replace(model, network=CompiledNetwork(model.network, command.batch_size))


def inverse_of(
    command: TranslateCommand, engine: TranslationEngine | TableEngine
) -> TranslationEngine | None:
    """Return the model of the other direction, if the uncertainty needs it and the folder contains
    both."""
    if not command.uncertainty or isinstance(engine, TableEngine):
        return None
    other: Direction = "to_mri" if engine.model.info.direction == "to_ct" else "to_ct"
    if not is_of_both(command.model):
        return None
    folder = model_folder_of(command.model, other)
    model = read_model(folder, FORMAT_OF_ENGINE[command.engine], engine.model.device)
    return replace(engine, model=compile_engine(model, command) if command.compile else model)
