"""`python -m cyclegan.evaluate`: scores of a run's checkpoint on a split, and a report of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from cyclegan.config_file import config_hash
from cyclegan.evaluate.assess import evaluate
from cyclegan.evaluate.contestant import contestant, located
from cyclegan.evaluate.report import html_report
from cyclegan.evaluate.table import to_csv, to_json, to_text
from cyclegan.scores.metrics import ProtocolName
from cyclegan.train.checkpoint import load_translators, results_folder
from cyclegan.train.environment import require_same_grid
from cyclegan.train.journal import METRICS, read_lines
from data_prep.atomic import write_atomic
from data_prep.errors import ExitCode, run_command
from data_prep.place import PlaceArgument
from data_prep.split import Split
from data_prep.store import open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Score a trained run: masked MAE, PSNR, SSIM and bone Dice where a real CT is beside, what
    comes back from a cycle where not; baselines and other runs beside. Writes scores.json,
    scores.csv and report.html.
    """

    run: Annotated[PlaceArgument, tyro.conf.Positional]
    """Folder or URL of a run (its best checkpoint is taken), or one of its checkpoints/step_*."""
    store: PlaceArgument | None = None
    """Zarr store; default: the run's own."""
    split: Split = "test"
    """Which subjects."""
    protocol: ProtocolName = "synthrad2025"
    """Whose definition of PSNR and SSIM: the HU range is [-1024, 3071] or, in 2023, [-1024, 3000];
    multi-scale SSIM came with 2025."""
    compare: tuple[Path, ...] = ()
    """Other runs, checkpoints or model folders to score on the same volumes, with a paired test."""
    out: Path | None = None
    """Folder for the results; default: evaluation_<split> in the run's folder, or in the working
    folder where the run lies under a URL."""
    pictures: int = 3
    """MRI volumes shown in the report, those with the largest error first."""
    batch_size: int = 8
    """Slices that go through a network at once; only memory and speed depend on it."""


def main(command: Command) -> ExitCode:
    """Evaluate, write the three files, print the table. Exit code 3 if volumes were left out."""
    found = located(command.run)
    run_folder, checkpoint, config = found.run_folder, found.checkpoint, found.config
    store = open_store(command.store or config.store)
    require_same_grid(run_folder, store)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rivals = [contestant(path, store, device) for path in command.compare]
    to_ct, to_mri = load_translators(checkpoint, config)
    scores = evaluate(
        (to_ct.to(device), to_mri.to(device)),
        config,
        store,
        command.split,
        rivals=rivals,
        protocol=command.protocol,
        device=device,
        batch_size=command.batch_size,
        num_shown=command.pictures,
    )
    facts = {
        "run": config.run.name,
        "checkpoint": checkpoint.name,
        "split": command.split,
        "preset": config.preset,
        "config": config_hash(config)[:8],
        "store": f"{store.path.name} ({store.fingerprint[:8]})",
    }
    report = html_report(
        scores,
        title=f"{config.run.name} on the {command.split} split",
        facts=facts,
        records=read_lines(run_folder / METRICS),
    )
    named = "" if command.run == run_folder else f"_{checkpoint.name}"
    out = command.out or results_folder(run_folder, f"evaluation_{command.split}{named}")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "scores.csv", to_csv(scores).encode())
    write_atomic(out / "report.html", report.encode())
    # Last, so that where it is, the others are.
    write_atomic(out / "scores.json", json.dumps(facts | to_json(scores), indent=1).encode())
    print(f"{to_text(scores)}\nreport: {out / 'report.html'}")
    for volume, agreement in scores.misaligned.items():
        print(f"misaligned: {volume}, its body outlines have a Dice of {agreement:.2f} only")
    for reason in scores.failed:
        print(f"left out: {reason}")
    return ExitCode.PARTLY_DONE if scores.failed else ExitCode.DONE


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Command, prog="python -m cyclegan.evaluate")))
