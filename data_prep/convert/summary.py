"""What `convert` prints at its end."""

import sys

from rich.console import Console

from data_prep.convert.convert import ConversionReport
from data_prep.convert.modality_swap import SWAPPED
from data_prep.convert.settings import ConvertSettings
from data_prep.store.describe import describe, empty_domains, height_lines
from data_prep.store.store import open_store
from mrct.errors import ExitCode


def print_summary(report: ConversionReport, settings: ConvertSettings) -> ExitCode:
    """Print the contents of the store, its heights and the refused inputs; return the exit code."""
    print(
        f"{report.written} written, {report.kept} already there, {len(report.refused)} refused"
        + (f", {report.swept} files of an interrupted run removed" if report.swept else "")
    )
    for reason, count in sorted(report.skipped.items()):
        print(f"Skipped {count}: {reason}")
    for remark in report.remarks:
        print(f"Note: {remark}")
    if report.notes:
        print(
            f"{report.notes} notes on corrections: "
            f"python -m data_prep describe {settings.out} --notes"
        )
    if report.whole_sizes:
        rows, columns = (max(sizes) for sizes in zip(*report.whole_sizes, strict=True))
        print(
            f"warning: {len(report.whole_sizes)} volumes are cropped: their body is larger than "
            f"slices of {settings.size[0]} x {settings.size[1]} voxels; `python -m data_prep "
            f"describe {settings.out} --notes` lists by how much. To keep all of it, convert into "
            f"a new --out with --size {rows} {columns}.",
            file=sys.stderr,
        )
    if not report.is_empty:
        store = open_store(settings.out)
        Console().print(describe(store))
        for line in height_lines(store):
            print(line, file=sys.stderr if line.startswith("warning") else sys.stdout)
        for modality, split in empty_domains(store):
            print(
                f"warning: The {split} split has no {modality.upper()}, and training needs one.",
                file=sys.stderr,
            )
        print(
            "Look at it, and train on it:\n"
            f"  python -m data_prep describe {settings.out} --picture volumes.png\n"
            f"  python -m cyclegan.train demo --data.store {settings.out}"
        )
    if not report.refused:
        return ExitCode.DONE
    for refusal in report.refused:
        print(refusal, file=sys.stderr)
    print(f"Their paths are listed in {settings.quarantine_path} (private).", file=sys.stderr)
    if report.is_swapped:
        print(SWAPPED, file=sys.stderr)
    if report.is_empty:
        print(f"No volume is usable, and {settings.out} was not created.", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.PARTLY_DONE if store.volumes else ExitCode.FAILED
