"""Convert MRI and CT volumes to one Zarr store, the input of training.

Start with your scans, or with synthetic ones (`python -m data_prep phantom --out phantom`):

  python -m data_prep convert --mri MRI --ct CT --out brain.zarr --dry-run
  python -m data_prep convert --mri MRI --ct CT --out brain.zarr
  python -m data_prep describe brain.zarr
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import OmitArgPrefixes, Positional

from data_prep.convert.settings import ConvertSettings
from data_prep.phantom.settings import CohortSettings
from mrct.cli import Json, optional, parse_group, print_json, run_command
from mrct.errors import ExitCode
from mrct.storage.local_path import make_output_folder
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckCommand:
    """Compare every file of a store with its commit record; exit code 1 if one differs."""

    store: Positional[StoragePath]
    """The store, a folder or a URL."""
    full: bool = False
    """Also read and hash every byte; by default only counts, sizes and metadata are compared."""
    repair: bool = False
    """Remove damaged volumes and rebuild the index; the same convert restores them."""
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeCommand:
    """Print the contents of a store, per split and modality."""

    store: Positional[StoragePath]
    """The store, a folder or a URL."""
    notes: bool = False
    """Also list, volume by volume, what convert corrected or could not check."""
    picture: Annotated[Path | None, optional("PATH", "none")] = None
    """Write a contact sheet (PNG): the oddest volumes by field of view, outline and contrast, then
    some of each domain and split."""
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HeightsCommand:
    """Show the axis of a store's heights, and which volumes do not fit it.

    The height of a slice is that on an axis that all volumes have in common, not in each field of
    view: convert fits it once, from outlines alone, and lays later volumes on it.
    """

    store: Positional[StoragePath]
    """The store, a folder or a URL."""
    refit: bool = False
    """Fit the axis again, to the train split as it is now. Runs on this store cannot be resumed
    then."""
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveCommand:
    """Remove a subject from a store for good, and list what was trained on it.

    Voxels, records, index entries and what was warped from or onto its volumes are deleted; only
    the pseudonym stays, so that no later convert takes the subject in again. Runs on this store
    cannot be resumed. After a kill, run the command again.

    Not touched: source files, the id map, the quarantine file, and the results of runs.
    """

    store: Positional[StoragePath]
    """The store, a folder or a URL."""
    subject: str
    """Pseudonym of the subject, or its name in the data set (folder, PatientID, sub-01)."""
    key_file: Annotated[Path | None, optional("PATH", "STORE.key")] = None
    """Key of the store, needed for a name."""
    runs: Annotated[tuple[StoragePath, ...], optional("[PATH|URL ...]", "none")] = ()
    """Folders below which to list the runs and models that were shown the subject."""
    dry_run: bool = False
    """Only print what would be removed, and list the runs and models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomCommand:
    """Generate synthetic heads: MRI and CT of the same anatomy as NIfTI, with a manifest."""

    HELP_OPTIONS: ClassVar = ("out", "seed", "cohort")
    out: Path
    """Folder for the volumes and manifest.csv."""
    seed: int = 0
    """Random seed; equal seeds give equal heads."""
    cohort: OmitArgPrefixes[CohortSettings] = field(default_factory=CohortSettings)


DATA_PREP_COMMANDS = {
    "convert": ConvertSettings,
    "describe": DescribeCommand,
    "check": CheckCommand,
    "heights": HeightsCommand,
    "remove": RemoveCommand,
    "phantom": PhantomCommand,
}


def main(argv: list[str]) -> ExitCode:
    """Run the command that the arguments select."""
    match parse_group(DATA_PREP_COMMANDS, argv, prog="python -m data_prep", description=__doc__):
        case ConvertSettings() as settings:
            return run_dry_run(settings) if settings.dry_run else run_convert(settings)
        case CheckCommand() as check:
            return run_repair(check) if check.repair else run_check(check)
        case DescribeCommand() as describe:
            return run_describe(describe)
        case HeightsCommand() as heights:
            return run_heights(heights)
        case RemoveCommand() as remove:
            return run_remove(remove)
        case phantom:
            return run_phantom(phantom)


def run_dry_run(settings: ConvertSettings) -> ExitCode:
    """Print what convert would do."""
    from data_prep.convert.disk_usage import check_space
    from data_prep.convert.dry_run import forecast_conversion
    from data_prep.convert.kind_prompt import terminal_prompt

    found = forecast_conversion(settings, terminal_prompt())
    for line in found.lines(with_paths=sys.stdout.isatty()):
        print(line)
    check_space(found.bytes_needed, settings.out)
    return ExitCode.FAILED if found.is_hopeless else ExitCode.DONE


def run_convert(settings: ConvertSettings) -> ExitCode:
    """Convert, then print the contents of the store and the refused inputs."""
    from data_prep.convert.convert import convert
    from data_prep.convert.kind_prompt import terminal_prompt
    from data_prep.convert.summary import print_summary

    return print_summary(convert(settings, terminal_prompt()), settings)


def run_describe(command: DescribeCommand) -> ExitCode:
    """Print the facts in the index, then histograms of some volumes."""
    from rich.console import Console

    from data_prep.store.describe import (
        EDGES_HU,
        describe,
        facts_of,
        height_lines,
        hu_lines,
        notes_of,
    )
    from data_prep.store.store import open_store

    store = open_store(command.store)
    notes = list(notes_of(store)) if command.notes else []
    odd = []
    if command.picture:
        from data_prep.store.contact_sheet import save_contact_sheet  # matplotlib takes a second

        make_output_folder(command.picture.parent)
        odd = [str(each) for each in save_contact_sheet(store, command.picture)]
    if command.json:
        print_json(facts_of(store) | {"notes": notes, "odd": odd})
        return ExitCode.DONE
    Console().print(describe(store))
    print(next(height_lines(store)))
    print(
        f"HU inside the body from {EDGES_HU[0]} to {EDGES_HU[-1]}; "
        "bar heights are square roots of the counts:"
    )
    for line in hu_lines(store):
        print(line)
    for note in notes:
        print(note)
    if command.picture:
        for each in odd:
            print(f"Odd: {each}")
        print(f"Wrote {command.picture}, with {len(odd)} odd volumes first")
    return ExitCode.DONE


def run_phantom(command: PhantomCommand) -> ExitCode:
    """Generate the cohort and print the command that converts it."""
    from data_prep.phantom.cohort import make_cohort

    manifest = make_cohort(command.out, settings=command.cohort, seed=command.seed)
    print(f"Wrote {manifest}. Convert it with:")
    print(f"  python -m data_prep convert --manifest {manifest} --out phantom.zarr")
    return ExitCode.DONE


def run_check(command: CheckCommand) -> ExitCode:
    """Check a store and print one line per problem."""
    from data_prep.store.check import check
    from data_prep.store.store import open_store

    store = open_store(command.store)
    problems = check(store, full=command.full)
    for problem in problems:
        print(problem, file=sys.stderr)
    if command.json:
        print_json({"volumes": len(store.volumes), "full": command.full, "problems": problems})
    else:
        depth = "every byte" if command.full else "counts, sizes and metadata"
        print(f"{len(store.volumes)} volumes checked ({depth}), {len(problems)} problems")
        print(after_check(command, bool(problems)))
    return ExitCode.FAILED if problems else ExitCode.DONE


def after_check(command: CheckCommand, has_problems: bool) -> str:
    """Return what comes after a check: a repair, the check of every byte, or training."""
    if has_problems:
        return (
            "Remove what is damaged, and convert it again:\n"
            f"  python -m data_prep check {command.store} --repair --full"
        )
    if command.full:
        return f"Train on it:\n  python -m cyclegan.train demo --data.store {command.store}"
    return f"Read and compare every byte:\n  python -m data_prep check {command.store} --full"


def run_repair(command: CheckCommand) -> ExitCode:
    """Repair a store and print what was removed and how to restore it."""
    from data_prep.store.check import repair

    count = repair(command.store, partial(print, file=sys.stderr), full=command.full)
    if command.json:
        print_json({"removed": count})
        return ExitCode.PARTLY_DONE if count else ExitCode.DONE
    print(f"Removed {count} damaged volumes and rebuilt the index")
    if not count:
        return ExitCode.DONE
    print("Run the same convert as before to restore them; it keeps the others:")
    print(f"  python -m data_prep convert ... --out {command.store}")
    return ExitCode.PARTLY_DONE


def run_heights(command: HeightsCommand) -> ExitCode:
    """Fit the axis again if asked to, and print what it is."""
    from data_prep.store.describe import height_facts, height_lines
    from data_prep.store.history import refit_heights
    from data_prep.store.store import open_store

    if command.refit:
        refit_heights(command.store)
    store = open_store(command.store)
    if command.json:
        print_json(height_facts(store))
        return ExitCode.DONE
    for line in height_lines(store):
        print(line)
    return ExitCode.DONE


def run_remove(command: RemoveCommand) -> ExitCode:
    """Remove a subject, then list the runs and models that were shown it."""
    from data_prep.convert.pseudonyms import existing_key, find_subject
    from data_prep.store.companions.cache import companions_with
    from data_prep.store.companions.group import COMPANIONS
    from data_prep.store.removal import known_subjects, remove_subject, volumes_of
    from data_prep.store.subject_record import folders_that_saw

    path = command.store
    key = existing_key(command.key_file, path.beside(".key"))
    subject = find_subject(command.subject, known_subjects(path), key)
    warped = [f"{COMPANIONS}/{name}" for name in companions_with(path, subject)]
    names = volumes_of(path, subject) if command.dry_run else remove_subject(path, subject)
    verb = "Would remove" if command.dry_run else "Removed"
    print(f"{verb} subject {subject} from {path}: {len(names)} volumes")
    for name in names + warped:
        print(f"  {name}")
    if not command.runs:
        print("To list the runs and models that were shown the subject, give --runs FOLDER.")
        return ExitCode.DONE
    found = list(folders_that_saw(subject, command.runs))
    print(f"{len(found)} runs and models were shown the subject, or do not tell:")
    for line in found:
        print(f"  {line}")
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(main)
