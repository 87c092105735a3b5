"""Help screens: `--help` shows on one screen the options that matter, `--help-all` shows them all.

A command class names those options in `HELP_OPTIONS` (all are shown if it has none), and may add
text for `--help-all` in `HELP_DETAILS`.
"""

import io
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import is_dataclass, replace
from inspect import getdoc
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Suppress
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

SHARED_HELP = "Every command also takes --quiet, --log-level LEVEL and --version."
HELP_FLAGS = ("-h", "--help", "--help-all")
MAX_COLUMNS = 100
"""Longer lines are hard to read, also where the terminal is wider."""
_VISITED = object()


def asks_for_help(argv: Sequence[str]) -> bool:
    """Return whether the arguments ask for a help screen."""
    return any(flag in argv for flag in HELP_FLAGS)


def wrapped(text: str) -> str:
    """Return text whose paragraphs fill the terminal's lines; indented lines stay as they are."""
    width = min(shutil.get_terminal_size().columns, MAX_COLUMNS)
    paragraphs = [
        paragraph
        if any(line.startswith(" ") for line in paragraph.splitlines())
        else textwrap.fill(" ".join(paragraph.split()), width, break_on_hyphens=False)
        for paragraph in text.strip("\n").split("\n\n")
    ]
    return "\n\n".join(paragraphs)


def wrapped_lines(text: str) -> str:
    """Return text whose lines fit the terminal; indented lines, such as commands, stay as they
    are."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        line
        if line.startswith(" ")
        else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def summary_of(command: type) -> str:
    """Return the first paragraph of a command's docstring, on one line."""
    return " ".join((getdoc(command) or "").split("\n\n")[0].split())


def standard_spec(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Return how tyro itself builds a dataclass; None for other types, and when it calls back."""
    if not is_dataclass(info.type) or _VISITED in info.markers:
        return None
    spec = ConstructorRegistry.get_struct_spec(replace(info, markers=(*info.markers, _VISITED)))
    return spec if isinstance(spec, StructConstructorSpec) else None


def help_rule(*, every: bool) -> Callable[[StructTypeInfo], StructConstructorSpec | None]:
    """Return a rule that hides all options but `HELP_OPTIONS`, unless `every`, and joins the lines
    of the texts, where tyro keeps the line breaks of the source."""

    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if (spec := standard_spec(info)) is None:
            return None
        first = getattr(info.type, "HELP_OPTIONS", None)
        fields = [replace(field, helptext=joined(field.helptext)) for field in spec.fields]
        if first is not None and not every:
            fields = [field if field.name in first else hidden(field) for field in fields]
        return replace(spec, fields=tuple(fields))

    return rule


def hidden(field: StructFieldSpec) -> StructFieldSpec:
    """Return an option that help screens leave out."""
    kind: Any = Annotated[field.type, Suppress]
    return replace(field, type=kind)


def joined(text: str | Callable[[], str | None] | None) -> Callable[[], str | None]:
    """Return the text of an option on one line."""

    def line() -> str | None:
        words = text() if callable(text) else text
        return None if words is None else " ".join(words.split())

    return line


def command_screen(
    command: type, prog: str, registry: ConstructorRegistry, default: Any, *, every: bool
) -> str:
    """Return the help screen of a command.

    Args:
        command: Dataclass whose fields are the options.
        prog: How the command is called.
        registry: Rules by which tyro reads the fields.
        default: Instance whose values are the defaults; None for those of the class.
        every: Whether all options are shown, and the details.
    """
    screen = io.StringIO()
    shown = ConstructorRegistry()
    shown.struct_rule(help_rule(every=every))
    with redirect_stdout(screen), suppress(SystemExit), registry:
        tyro.cli(
            command,
            args=["--help"],
            prog=prog,
            description="",
            config=(FlagCreatePairsOff,),
            registry=shown,
            **({} if default is None else {"default": default}),
        )
    usage, *lines = (line.rstrip() for line in screen.getvalue().splitlines())
    options = [
        # Titles of groups have one space before them, options two.
        line if line.startswith("  ") else f"\n{line.strip()}:"
        for line in lines
        if line.strip(" -")
    ]
    more = "" if every or not hasattr(command, "HELP_OPTIONS") else "--help-all shows all options. "
    details = getattr(command, "HELP_DETAILS", "") if every else ""
    texts = [usage, getdoc(command), details, more + SHARED_HELP]
    return "\n\n".join(wrapped(text) for text in texts if text) + "\n".join(["", *options])


def group_screen(
    commands: Mapping[str, type], prog: str, description: str, joint: str = " "
) -> str:
    """Return the help screen of a group of commands: where to begin, and a line or two for each.

    `joint` stands between the name of the group and that of a command.
    """
    column = max(map(len, commands)) + 4
    width = min(shutil.get_terminal_size().columns, MAX_COLUMNS)
    lines = [
        textwrap.fill(
            summary_of(command),
            width,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for name, command in commands.items()
    ]
    return "\n\n".join(
        [
            f"usage: {prog}{joint}{{{','.join(commands)}}} ...",
            wrapped(description),
            "\n".join(["commands:", *lines]),
            wrapped(f"`{prog}{joint}COMMAND --help` shows the options of a command. {SHARED_HELP}"),
        ]
    )
