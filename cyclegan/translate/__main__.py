"""`python -m cyclegan.translate`: NIfTI files in, synthetic volumes on the same grids out."""

import errno
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from cyclegan.export.formats import Format
from cyclegan.export.model import SUMS, Model, read_model
from cyclegan.translate.engine import translate
from data_prep.errors import ExitCode, UsageError, VolumeError, as_volume_error, run_command
from data_prep.nifti import SUFFIXES, read_description, read_nifti, write_nifti
from data_prep.progress import progress
from data_prep.quarantine import Quarantine, Refusal
from data_prep.store import sha256_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Make synthetic CT in HU (or MRI) volumes, each on its input's own grid.

    For research only. The results are <name>_synthetic-ct.nii.gz, int16, with the shape and
    affine of the input. An input that cannot be used is listed and the others go on (exit code 3).
    Run it again to go on where it stopped.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model folder, written by `python -m cyclegan.export`."""
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT ...")]
    """NIfTI files (.nii, .nii.gz), or folders that hold them."""
    out: Path
    """Folder of the results."""
    runtime: Format = "safetensors"
    """What runs the network: torch's weights, onnx (onnxruntime, on the CPU) or pt2."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto: on a GPU if there is one."""
    batch_size: int = 8
    """Slices in one pass of the network; fewer take less memory."""
    overwrite: bool = False
    """Make results anew that are there already."""


def run(command: Command) -> ExitCode:
    """Translate all inputs; one that cannot be used does not stop the others."""
    device = command.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda, but torch finds no CUDA device here. Use --device cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and command.runtime != "onnx" else "cpu"
    model = read_model(command.model, command.runtime, device)
    sources = find_inputs(command.inputs, command.out)
    results = name_results(sources, command.out, f"_synthetic-{model.info.target}.nii.gz")
    command.out.mkdir(parents=True, exist_ok=True)
    # Private: it holds paths, so it lies beside the results and not among them.
    quarantine = Quarantine(path=command.out.with_name(command.out.name + ".quarantine.jsonl"))
    refusals: list[Refusal] = []
    kept = 0
    with progress("translate", total=len(sources)) as advance:
        for number, (source, result) in enumerate(zip(sources, results, strict=True), start=1):
            origin = origin_of(command.model, source, model.info.target)
            if result.exists() and not command.overwrite and read_description(result) == origin:
                kept += 1
            elif refusal := translate_file(source, result, model, number, origin, command):
                refusals.append(refusal)
                quarantine.add(refusal, source)
            advance()
    made = len(sources) - kept - len(refusals)
    print(f"{made} made, {kept} there already, {len(refusals)} left out: {command.out}")
    for refusal in refusals:
        # Paths may name patients: people at a terminal see them, job logs do not.
        where = f" {sources[refusal.number - 1]}" if sys.stderr.isatty() else ""
        print(f"left out: {refusal}{where}", file=sys.stderr)
    if not refusals:
        return ExitCode.DONE
    return ExitCode.PARTLY_DONE if made or kept else ExitCode.FAILED


def origin_of(model: Path, source: Path, target: str) -> str:
    """Which model made a result of which input; stands in the result's header."""
    made_by = sha256_of(model / SUMS)
    return f"synthetic {target}; model {made_by[:16]}; input {sha256_if_readable(source)[:16]}"


def translate_file(
    source: Path, result: Path, model: Model, number: int, origin: str, command: Command
) -> Refusal | None:
    """Write the synthetic volume of one file, whole or not at all; or say why there is none."""
    modality = model.info.source
    try:
        if result.exists() and not command.overwrite:
            raise VolumeError(
                "other-result",
                "A result of this name is there, made of another input or by another model.",
                "Give another --out, or --overwrite.",
            )
        volume = read_nifti(source, modality=modality, pseudonym=f"input-{number}")
        voxels = translate(volume, model, batch_size=command.batch_size)
        write_nifti(result, voxels, volume.affine, origin)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # no input's fault, and no other one would fare better
        refused = as_volume_error(error)
        return Refusal(
            number=number,
            name=modality,
            sha256=sha256_if_readable(source),
            code=refused.code,
            reason=refused.reason,
            remedy=refused.remedy,
        )
    return None


def sha256_if_readable(path: Path) -> str:
    """Tells people which file was meant without its name."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def find_inputs(inputs: Sequence[Path], out: Path) -> list[Path]:
    """The NIfTI files that are named, or that lie anywhere below a named folder, sorted.

    Files are taken as they are named, so that a missing one is reported and not skipped. Hidden
    files and what lies in `out` are no inputs.

    Raises:
        UsageError: There is none.
    """
    found: dict[Path, None] = {}
    for path in inputs:
        inside = sorted(path.rglob("*")) if path.is_dir() else []
        found |= dict.fromkeys(
            file
            for file in inside
            if file.name.lower().endswith(SUFFIXES)
            and not file.name.startswith(".")
            and out.absolute() not in file.absolute().parents
        )
        if not path.is_dir():
            found[path] = None
    if not found:
        raise UsageError(
            f"there is no NIfTI file (.nii, .nii.gz) in the {len(inputs)} inputs. Give files, or "
            "folders that hold them."
        )
    return list(found)


def name_results(sources: Sequence[Path], out: Path, ending: str) -> list[Path]:
    """Where each source's result goes.

    Raises:
        UsageError: Two would have the same name, and one would replace the other.
    """
    stems = [source.name[: source.name.lower().rindex(".nii")] for source in sources]
    if twice := [stem for stem, count in Counter(stems).items() if count > 1]:
        numbers = [str(n) for n, stem in enumerate(stems, start=1) if stem == twice[0]]
        raise UsageError(
            f"{len(twice)} results would be written by more than one input: the inputs "
            f"{' and '.join(numbers)}, in different folders, have one name. Translate them into "
            "different --out folders."
        )
    return [out / f"{stem}{ending}" for stem in stems]


if __name__ == "__main__":
    run_command(lambda: run(tyro.cli(Command, prog="python -m cyclegan.translate")))
