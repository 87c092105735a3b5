"""Write the results of an evaluation: scores.json, per_volume.csv and report.html."""

import json

from cyclegan.config.run_location import is_run
from cyclegan.evaluate.command import EvaluateCommand
from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.model_under_test import open_model_under_test, store_for, with_unique_names
from cyclegan.evaluate.native_grid import native_grids_of
from cyclegan.evaluate.report.report import html_report
from cyclegan.evaluate.report.tables import to_csv, to_json, to_text
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.evaluate.segmenter import Segmenter
from cyclegan.inference.slices import best_device
from data_prep.store.store import Store
from mrct.cli import print_json
from mrct.errors import ExitCode
from mrct.storage.atomic import write_atomic
from mrct.storage.local_path import make_output_folder


def write_results(command: EvaluateCommand) -> ExitCode:
    """Evaluate, write the three files and print the table. The exit code is 3 if volumes were left
    out."""
    subject, *compared_models = command.named
    segmenter = Segmenter(command=command.segmenter) if command.segmenter else None
    store = store_for(subject, command.store)
    device = best_device()
    ours, *theirs = (
        open_model_under_test(path, store, device, command.batch_size)
        for path in (subject, *compared_models)
    )
    if not command.json:
        print(ours.seen_line, flush=True)
    theirs = with_unique_names(theirs)
    if (axis := ours.networks.axis) not in (None, store.axis):
        store = store.on(axis)  # the atlas, the table and the tenths of the height too
    cts = (store.volumes.named(mri.link) for mri in store.select("mri", command.split) if mri.link)
    native = command.native
    out = command.out or ours.folder / f"evaluation_{command.split}{ours.suffix}"
    make_output_folder(out)
    scores = evaluate(
        ours.networks,
        store,
        command.split,
        compared_models=theirs,
        table=ours.table.table if ours.table else None,
        options=ScoringOptions(
            protocol=command.protocol,
            register=command.register == "rigid",
            native_grids=native_grids_of(native, store, filter(None, cts)) if native else None,
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
    if ours.table:
        hashes["contrast table"] = ours.table.sha256
    hashes |= {f"model {each.name}": each.sha256 for each in theirs}
    report = html_report(
        scores,
        title=f"{ours.name} on the {command.split} split",
        facts=facts | {"trained on": ours.seen_line.removeprefix("Trained on ")},
        records=ours.records,
        hashes=hashes,
        table=ours.table.table if ours.table else None,
    )
    write_atomic(out / "per_volume.csv", to_csv(scores).encode())
    write_atomic(out / "report.html", report.encode(), mode=0o600)  # slices of patients
    # Written last: if it exists, the other files do too.
    found = facts | {"hashes": hashes} | to_json(scores)
    write_atomic(out / "scores.json", json.dumps(found, indent=1, allow_nan=False).encode())
    if command.json:
        print_json(found)
    else:
        print(f"{to_text(scores)}\nReport: {out / 'report.html'}")
        for reason in scores.failed:
            print(f"Left out: {reason}")
        if is_run(subject):
            print(f"  python -m cyclegan.export {subject} --scores {out / 'scores.json'}")
    return ExitCode.PARTLY_DONE if scores.failed else ExitCode.DONE


def _hashes(store: Store) -> dict[str, str]:
    return {"data: volumes and splits": store.contents, "data: preprocessing": store.fingerprint}
