"""`python -m cyclegan.evaluate`: scores of a translator on a split, and a report of them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cyclegan.evaluate.assess import evaluate
from cyclegan.evaluate.assessment import Options
from cyclegan.evaluate.contestant import contestant, store_for, told_apart
from cyclegan.evaluate.native import natives_of
from cyclegan.evaluate.report import html_report
from cyclegan.evaluate.segmenter import Segmenter
from cyclegan.evaluate.table import to_csv, to_json, to_text
from cyclegan.infer.device import best_device
from cyclegan.scores.metrics import ProtocolName
from data_prep.atomic import write_atomic
from data_prep.errors import ExitCode, UsageError, run_command
from data_prep.path_argument import StoragePathArgument
from data_prep.place import StoragePath
from data_prep.split import Split
from data_prep.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Score a run or an exported model: masked MAE, PSNR, MS-SSIM, bone and more where a real CT
    is beside, populations and cycles where not; baselines and other models beside. Writes
    scores.json, per_volume.csv and report.html.
    """

    run: Annotated[StoragePathArgument | None, tyro.conf.Positional] = None
    """Folder or URL of a run (its best checkpoint is taken), one of its checkpoints/step_*, or an
    exported model; default: the first of --compare."""
    store: StoragePathArgument | None = None
    """Zarr store; default: the run's own."""
    split: Split = "test"
    """Which subjects."""
    protocol: ProtocolName = "synthrad2025"
    """Whose definition of PSNR and SSIM: the HU range is [-1024, 3071] or, in 2023, [-1024, 3000];
    multi-scale SSIM came with 2025."""
    compare: tuple[StoragePathArgument, ...] = ()
    """Other runs, checkpoints or model folders to score on the same volumes, with a paired test."""
    register: Literal["no", "rigid"] = "no"
    """Move each real CT onto its MRI by a turn and a shift first, found from the two scans alone;
    what was done is in the results."""
    native: Path | None = None
    """Score pairs on the grid of the CT's own file: a folder of CT files or DICOM, or a manifest.
    The files are told by their SHA-256."""
    segmenter: str = ""
    """Command of a segmenter, with {ct} for the CT's file (.nii.gz, HU) and {out} for the folder
    of its masks: adds Dice and HD95 of every structure, synthetic against real CT.
    E.g. 'TotalSegmentator -i {ct} -o {out} --fast'."""
    out: Path | None = None
    """Folder for the results; default: RUN/evaluation_<split>, or in the working folder where the
    run lies under a URL."""
    pictures: int = 3
    """MRI volumes shown in the report, those with the largest error first."""
    batch_size: int = 8
    """Slices that go through a network at once; only memory and speed depend on it."""
    threads: int = min(4, os.cpu_count() or 1)
    """Methods of a volume that are scored at the same time; each needs memory of its own."""


def main(command: Command) -> ExitCode:
    """Evaluate, write the three files, print the table. Exit code 3 if volumes were left out."""
    subject, *rivals = _named(command)
    segmenter = Segmenter(command=command.segmenter) if command.segmenter else None
    store = store_for(subject, command.store)
    device = best_device()
    ours, *theirs = (
        contestant(path, store, device, command.batch_size) for path in (subject, *rivals)
    )
    theirs = told_apart(theirs)
    cts = (store.volumes.named(mri.link) for mri in store.select("mri", command.split) if mri.link)
    native = command.native
    scores = evaluate(
        ours.networks,
        store,
        command.split,
        rivals=theirs,
        options=Options(
            protocol=command.protocol,
            register=command.register == "rigid",
            natives=natives_of(native, store, filter(None, cts)) if native else None,
            segmenter=segmenter,
            num_shown=command.pictures,
            threads=command.threads,
        ),
    )
    facts = ours.facts | {
        "split": command.split,
        "store": f"{store.path.name} ({store.fingerprint[:8]})",
    }
    hashes = _hashes(store) | {"model": ours.sha256}
    hashes |= {f"model {each.name}": each.sha256 for each in theirs}
    report = html_report(
        scores,
        title=f"{ours.name} on the {command.split} split",
        facts=facts,
        records=ours.records,
        hashes=hashes,
    )
    out = command.out or ours.folder / f"evaluation_{command.split}{ours.suffix}"
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "per_volume.csv", to_csv(scores).encode())
    write_atomic(out / "report.html", report.encode())
    # Last, so that where it is, the others are.
    found = facts | {"hashes": hashes} | to_json(scores)
    write_atomic(out / "scores.json", json.dumps(found, indent=1, allow_nan=False).encode())
    print(f"{to_text(scores)}\nreport: {out / 'report.html'}")
    for reason in scores.failed:
        print(f"left out: {reason}")
    return ExitCode.PARTLY_DONE if scores.failed else ExitCode.DONE


def _named(command: Command) -> list[StoragePath]:
    """The paths to score, the one that the report is about first."""
    named = [*([command.run] if command.run else []), *command.compare]
    if not named:
        raise UsageError(
            "nothing to score: name the folder of a run or of an exported model, such as "
            "runs/demo, or two or more with --compare."
        )
    return named


def _hashes(store: Store) -> dict[str, str]:
    return {"data: volumes and splits": store.contents, "data: preprocessing": store.fingerprint}


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Command, prog="python -m cyclegan.evaluate")))
