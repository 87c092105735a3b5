"""Command line parsing shared by all commands: common flags, and exit codes for errors.

Only light modules are imported here. A command imports its work after parsing its arguments, so
that help, the version and usage errors appear at once.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)

from mrct.errors import REFUSED_ERRNOS, STORAGE_FULL_ERRNOS, ExitCode, UsageError, UserError
from mrct.help import (
    HELP_FLAGS,
    asks_for_help,
    command_screen,
    group_screen,
    standard_spec,
    wrapped_lines,
)
from mrct.host_limits import exceeded_limit, memory_warning
from mrct.progress import QUIET_VARIABLE
from mrct.storage.names import printable
from mrct.storage.paths import StoragePath, storage_path
from mrct.user import name_the_user

REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def storage_path_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[StoragePath] | None:
    """Let tyro read a field of type `StoragePath` from a path or a URL."""
    if info.type is not StoragePath:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=lambda words: storage_path(words[0]),
        is_instance=lambda value: isinstance(value, StoragePath),
        str_from_instance=lambda value: [str(value)],
    )


Json = Annotated[bool, arg(help="Print JSON on standard output, instead of tables and texts.")]
"""Type of the flag --json of the commands whose result is a table or a list."""


def print_json(content: Mapping[str, Any]) -> None:
    """Print the result of a command that was given --json.

    Raises:
        ValueError: A number is infinite or NaN, which JSON does not know.
    """
    print(json.dumps(content, indent=1, allow_nan=False))


def optional(metavar: str, default: str) -> object:
    """Return how --help shows a setting that may be None: `default` says what happens then."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedOptions:
    """Flags that every command accepts."""

    version: bool = False
    """Print the version and exit."""
    quiet: bool = False
    """Hide progress; print results, warnings and errors only."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Lowest level of log messages of libraries (Ray, torch) that is shown."""


class RefusedError(Exception):
    """Carries an error of a command's fields through tyro, which would print a ValueError itself,
    under the name of the class."""

    def __init__(self, cause: UserError) -> None:
        super().__init__()
        self.cause = cause


@REGISTRY.struct_rule
def command_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Let the errors that a dataclass of ours raises reach the caller of `parse`."""
    spec = standard_spec(info)
    if spec is None:
        return None

    def instantiate(**values: Any) -> Any:
        try:
            return spec.instantiate(**values)
        except UserError as error:
            raise RefusedError(error) from error

    return replace(spec, instantiate=instantiate)


def parse(command: type, argv: Sequence[str], *, prog: str, default: Any = None) -> Any:
    """Build a command, a dataclass, from arguments.

    Exits with code 2 for invalid arguments, and with 0 after printing help. Each --flag also has a
    --no-flag.
    """
    if asks_for_help(argv):
        print(command_screen(command, prog, REGISTRY, default, every="--help-all" in argv))
        sys.exit(ExitCode.DONE)
    try:
        with colour_by_choice():
            parsed = tyro.cli(
                command,
                args=argv,
                prog=prog,
                registry=REGISTRY,
                **({} if default is None else {"default": default}),
            )
    except RefusedError as refused:
        raise refused.cause from None
    if warning := memory_warning():  # before the work is imported
        print(f"warning: {warning}", file=sys.stderr)
    return parsed


@contextmanager
def colour_by_choice() -> Iterator[None]:
    """Print without colour where NO_COLOR is set: rich obeys it, tyro knows only TERM."""
    term = os.environ.get("TERM")
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    try:
        yield
    finally:
        if term is None:
            os.environ.pop("TERM", None)
        else:
            os.environ["TERM"] = term


def parse_group(
    commands: Mapping[str, type],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    defaults: Mapping[str, Any] | None = None,
) -> Any:
    """Build the command of a group that the first argument names from the others.

    Exits as `parse` does; without a command the help screen is the error.

    Raises:
        UsageError: There is no such command.
    """
    name = argv[0] if argv else ""
    if name in commands:
        default = (defaults or {}).get(name)
        return parse(commands[name], argv[1:], prog=f"{prog} {name}", default=default)
    if name and name not in HELP_FLAGS:
        nearest = get_close_matches(name, commands, n=1)
        raise UsageError(
            f"The first argument of {prog} is {printable(name)!r}, but it must be a command: "
            f"{', '.join(commands)}." + (f" Did you mean {nearest[0]!r}?" if nearest else "")
        )
    print(group_screen(commands, prog, description), file=sys.stdout if name else sys.stderr)
    sys.exit(ExitCode.DONE if name else ExitCode.WRONG_USE)


def parse_known(command: Any, argv: Sequence[str], *, prog: str) -> tuple[Any, list[str]]:
    """Build a command of optional flags from the arguments, and return the arguments left over."""
    return tyro.cli(
        command,
        args=argv,
        prog=prog,
        config=(FlagCreatePairsOff,),
        registry=REGISTRY,
        return_unknown_args=True,
        add_help=False,
    )


def apply_shared_options(argv: Sequence[str]) -> list[str]:
    """Apply the shared flags, and return the other arguments; those after `--` belong to another
    command and are left unchanged."""
    own = argv.index("--") if "--" in argv else len(argv)
    shared, rest = parse_known(SharedOptions, argv[:own], prog="python -m ...")
    if shared.version:
        from mrct.version import __version__  # only where it is asked for: it reads a file

        print(__version__)
        sys.exit()
    if shared.quiet:
        os.environ[QUIET_VARIABLE] = "1"
    if shared.log_level != "warning":
        logging.basicConfig(level=shared.log_level.upper())
    return [*rest, *argv[own:]]


def run_command(main: Callable[[list[str]], ExitCode], argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; user errors are printed without a traceback."""
    name_the_user()
    try:
        code = main(apply_shared_options(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except UserError as error:
        # What it quotes may come from a file; its own lines stay lines.
        text = "\n".join(map(printable, f"error: {error}".split("\n")))
        print(wrapped_lines(text) if sys.stderr.isatty() else text, file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if limit := exceeded_limit(error):
            print(f"error: {limit}", file=sys.stderr)
            code = ExitCode.FAILED
        elif isinstance(error, OSError) and error.errno in STORAGE_FULL_ERRNOS:
            print(
                f"error: The storage is full ({error.strerror}). Committed data is kept; "
                "free some space and run the same command again.",
                file=sys.stderr,
            )
            code = ExitCode.STORAGE_FULL
        elif (
            isinstance(error, OSError)
            and error.errno in REFUSED_ERRNOS
            and error.filename is not None
        ):
            place = os.fspath(error.filename)
            # A path may name a patient, and a job log may be read by others.
            named = printable(os.fsdecode(place)) if sys.stderr.isatty() else "A file or folder"
            print(
                f"error: {named} cannot be used: {error.strerror}. Check the paths in the command, "
                "and who may read and write there.",
                file=sys.stderr,
            )
            code = ExitCode.FAILED
        else:
            raise
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to resume.", file=sys.stderr)
        code = ExitCode.FAILED
    sys.exit(int(code))
