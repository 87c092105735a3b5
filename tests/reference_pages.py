"""Generates the reference pages from the code: docs/settings.md, docs/presets.md, docs/commands.md.

python -m tests.reference_pages      regenerates them
"""

import ast
import contextlib
import importlib
import inspect
import io
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cyclegan.config.config import LossConfig
from cyclegan.config.files import flatten_settings
from cyclegan.config.flags import sections_of
from cyclegan.config.loss import Term
from cyclegan.config.presets import PRESETS
from mrct.cli import apply_shared_options

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLUMNS = 80
COMMANDS = (
    *(
        f"data_prep {command}"
        for command in ("convert", "describe", "check", "heights", "remove", "phantom")
    ),
    *(
        f"cyclegan.{command}"
        for command in ("train", "contrast", "anchor", "evaluate", "export", "translate")
    ),
    *(f"tune {command}" for command in ("run", "report")),
    *(f"cluster {command}" for command in ("doctor", "plan", "submit")),
)
"""In the order of their programs' help."""
WITH_SETTINGS = ("cyclegan.train", "tune run")
"""Their --help-all has every setting, which has a page of its own."""
BY_COMMAND = """\
`python -m tests.reference_pages` writes this page from the code, and a test compares them.
"""
SETTINGS_HEAD = f"""\
# Settings of a training

Each is a flag of `cyclegan.train` and `tune run` (`--loss.cycle.weight 5`; with `-` or `_`), a line
of `config.yaml`, and can be searched by `tune`. Values are those of the `default` preset; [other
presets](presets.md) change some. A value out of its range is refused before anything starts.
{BY_COMMAND}"""
PRESETS_HEAD = f"""\
# Presets

A preset is a complete set of settings: `python -m cyclegan.train PRESET`. Every
[setting](settings.md) can be changed beside it.
{BY_COMMAND}"""
COST_OF_PRESETS = """
Memory of a step: [by torch's count on fake tensors](gpu.md#memory-of-a-step), 0.5 GiB (`demo`) to
12 GiB (`default` with its 8 pairs on one GPU). Time: `--plan` measures a few steps on your machine
and prints that of the run; `python -m cluster plan` predicts it for N GPUs from an [assumed
utilisation](scale-model.md). No preset has been timed on a GPU.
"""
COMMANDS_HEAD = f"""\
# Commands

What each prints for `--help-all`, defaults and units included; of `cyclegan.train` and `tune run`,
which also take every [setting](settings.md) as a flag, what they print for `--help`.
{BY_COMMAND}"""
FOR_WHICH_DATA = {
    "default": "heads, on one or more GPUs; where to begin. Other body parts: `--generator.guide none`",
    "brain-256": "heads of 256 x 256 pixels, MRIs from several scanners",
    "pelvis-512": "pelves of 512 x 512 pixels, MRIs from several scanners",
    "demo": "heads, on a CPU, in minutes: a first look, and `make demo`",
    "smoke": "any: does every stage run here? Its images are meaningless",
    "deterministic": "as `default`, where a run must be repeatable to the bit",
    "reference": "any: the baseline that papers compare with",
    "seed": "any: to repeat the notebook that this project began with",
}


def settings_page() -> str:
    """docs/settings.md: every setting of a training with its default and its meaning."""
    parts = [SETTINGS_HEAD]
    for name, section in sections_of(PRESETS["default"]()).items():
        parts += [f"## {name}\n", f"{meaning(type(section))}\n", *table(name, section)]
    return "\n".join(parts)


def table(section_name: str, section: Any) -> Iterator[str]:
    """The table of a section; the terms of the loss share one of theirs."""
    texts = texts_of(type(section))
    yield "| setting | value | meaning |\n|---|---|---|"
    for each in fields(section):
        value = getattr(section, each.name)
        if is_dataclass(value):
            shown = f"on, weight {value.weight:g}" if value.enabled else "off"
            name = f"{section_name}.{each.name}.*"
        else:
            shown, name = f"`{value}`" if value != "" else "empty", f"{section_name}.{each.name}"
        choices = choices_of(each.type)
        yield f"| `{name}` | {shown} | {in_cell(texts[each.name])}{choices} |"
    yield ""
    if isinstance(section, LossConfig):
        yield f"Each term has these, as in `{section_name}.cycle.weight`:\n"
        yield "| of a term | meaning |\n|---|---|"
        texts = texts_of(Term)
        for each in fields(Term):
            yield f"| `{each.name}` | {in_cell(texts[each.name])}{choices_of(each.type)} |"
        yield ""


def choices_of(type_: Any) -> str:
    """The values that a setting can have, where they are listed."""
    listed = [value for value in getattr(type_, "__args__", ()) if isinstance(value, str)]
    return " One of " + ", ".join(f"`{value}`" for value in listed) + "." if listed else ""


def texts_of(settings: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def meaning(documented: Any) -> str:
    """The docstring of a class or a function, up to its sections."""
    return inspect.getdoc(documented).partition("\n\nArgs:")[0]


def in_cell(text: str) -> str:
    """The text as the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def presets_page() -> str:
    """docs/presets.md: what each preset is for, and what it changes."""
    default = flatten_settings(PRESETS["default"]())
    parts = [
        PRESETS_HEAD,
        "| preset | for | pairs per step | length | precision |\n|---|---|---|---|---|",
    ]
    configs = {name: make() for name, make in PRESETS.items()}
    for name, use in FOR_WHICH_DATA.items():
        train = configs[name].train
        length = f"{train.max_steps:,} steps" if train.max_steps else f"{train.epochs:g} epochs"
        parts.append(
            f"| [`{name}`](#{name}) | {use} | {configs[name].batch.global_size} | {length} "
            f"| {train.precision} |"
        )
    parts.append(COST_OF_PRESETS)
    for name in FOR_WHICH_DATA:
        changed = {
            setting: value
            for setting, value in flatten_settings(configs[name]).items()
            if value != default[setting] and setting != "preset"
        }
        parts += [f"## {name}\n", f"{meaning(PRESETS[name])}\n"]
        if changed:
            parts.append("| setting | `default` | here |\n|---|---|---|")
            parts += [
                f"| `{setting}` | `{default[setting]}` | `{value}` |"
                for setting, value in changed.items()
            ]
            parts.append("")
    return "\n".join(parts)


def commands_page() -> str:
    """docs/commands.md: what `--help` of each command prints."""
    parts = [COMMANDS_HEAD]
    for command in COMMANDS:
        flag = "--help" if command in WITH_SETTINGS else "--help-all"
        parts += [f"## {command}\n", textwrap.indent(help_of(command, flag), "    ")]
    return "\n".join(parts)


def help_of(command: str, flag: str = "--help") -> str:
    """What a command prints for --help or --help-all, at a fixed width and without colours."""
    program, *words = command.split()
    main: Callable[[list[str]], object] = importlib.import_module(f"{program}.__main__").main
    printed = io.StringIO()
    surroundings = {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    with patch.dict(os.environ, surroundings), contextlib.redirect_stdout(printed):
        try:
            main(apply_shared_options([*words, flag]))
        except SystemExit:
            return printed.getvalue()
    raise AssertionError(f"{command} did not end after its help")


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "presets.md": presets_page,
    "commands.md": commands_page,
}


if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make())
