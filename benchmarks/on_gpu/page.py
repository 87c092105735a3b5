"""The part of docs/gpu.md between two marks, written from the figures of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: written by make gpu -->\n", "<!-- end of figures -->\n"
COLUMNS = {
    "pairs": ("pairs", "{:d}"),
    "pairs/s": ("pairs_per_s", "{:.0f}"),
    "share of the peak, %": ("mfu_percent", "{:.0f}"),
    "launches": ("launches", "{:d}"),
    "data wait, %": ("data_wait_percent", "{:.1f}"),
    "peak, GiB": ("peak_gib", "{:.1f}"),
    "as a CUDA graph, pairs/s": ("cuda_graph_pairs_per_s", "{:.0f}"),
}
"""Heading of a column: the figure, and its form."""


def write_page(page: Path, found: Mapping[str, Any], ratios: Mapping[str, float]) -> None:
    """Replace what stands between the marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(
        before + BEGIN + "\n" + "\n".join(lines_of(found, ratios)) + "\n\n" + END + after
    )


def lines_of(found: Mapping[str, Any], ratios: Mapping[str, float]) -> list[str]:
    """The machine, a table of steps, and the rest in a sentence each."""
    machine = found["machine"]
    versions = f"torch {machine['torch']}, CUDA {machine['cuda']}"
    steps = {
        name: figures
        for name, figures in found.items()
        if isinstance(figures, dict) and "pairs_per_s" in figures
    }
    lines = [
        f"{machine['gpu']}, {machine['day']}, {versions}; one step of `{machine['preset']}` in "
        f"bf16 on slices of {machine['size']} x {machine['size']}:",
        "",
        "| step | " + " | ".join(COLUMNS) + " |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for name, figures in steps.items():
        cells = [cell(figures.get(figure), form) for figure, form in COLUMNS.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {text}: {ratio:.2f}" for text, ratio in ratios.items()]
    if isinstance(volume := found.get("volume"), dict):
        lines.append(f"- {volume['slices']} slices through a generator: {volume['again_s']:.2f} s")
    if isinstance(saved := found.get("checkpoint"), dict):
        lines.append(
            f"- a checkpoint of {saved['megabytes']:.0f} MB: {saved['save_s']:.2f} s to save, "
            f"{saved['restore_s']:.2f} s to restore"
        )
    return lines


def cell(value: object, form: str) -> str:
    """A figure, or nothing where it was not measured."""
    return form.format(value) if isinstance(value, int | float) else ""
