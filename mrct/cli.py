"""What all commands share: some flags, how the others are parsed, and how a command ends.

Nothing heavy is imported here. A command imports its work once it knows what is asked of it, so
that help, the version and a mistake are answered at once.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from mrct.errors import STORAGE_FULL_ERRNOS, ExitCode, UserError
from mrct.progress import QUIET_VARIABLE
from mrct.storage.paths import StoragePath, storage_path

SHARED_HELP = "Every command also takes --quiet, --log-level LEVEL and --version."
REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def storage_path_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[StoragePath] | None:
    """Lets a field of a command be a `StoragePath`, read from a path or a URL."""
    if info.type is not StoragePath:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=lambda words: storage_path(words[0]),
        is_instance=lambda value: isinstance(value, StoragePath),
        str_from_instance=lambda value: [str(value)],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """The flags of every command."""

    version: bool = False
    quiet: bool = False
    """Show no progress: results, warnings and errors only."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """The least that libraries (Ray, torch) log and that is shown."""


def parse(
    command: Any,
    argv: Sequence[str],
    *,
    prog: str,
    description: str | None = None,
    default: Any = None,
    flag_pairs: bool = True,
) -> Any:
    """Build a command, a dataclass or a union of them, from arguments; ends the process with exit
    code 2 where they are wrong, and with 0 after help. `flag_pairs`: beside --flag there is
    --no-flag."""
    return tyro.cli(
        command,
        args=argv,
        prog=prog,
        description=f"{description or getdoc(command)}\n\n{SHARED_HELP}",
        config=() if flag_pairs else (FlagCreatePairsOff,),
        registry=REGISTRY,
        **({} if default is None else {"default": default}),
    )


def parse_known(command: Any, argv: Sequence[str], *, prog: str) -> tuple[Any, list[str]]:
    """Build a command of flags alone from what is there of them, and return the other arguments."""
    return tyro.cli(
        command,
        args=argv,
        prog=prog,
        config=(FlagCreatePairsOff,),
        registry=REGISTRY,
        return_unknown_args=True,
        add_help=False,
    )


def obey_shared(argv: Sequence[str]) -> list[str]:
    """Do what the shared flags ask for, and return the other arguments; what comes after `--` is
    for another command."""
    own = argv.index("--") if "--" in argv else len(argv)
    shared, rest = parse_known(Shared, argv[:own], prog="python -m ...")
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
    """Run a command's body and end the process with its exit code; user errors print plainly."""
    try:
        code = main(obey_shared(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    except OSError as error:
        if error.errno not in STORAGE_FULL_ERRNOS:
            raise
        print(
            f"error: storage is full ({error.strerror}). What was committed is kept; "
            "free some space and run the same command again.",
            file=sys.stderr,
        )
        code = ExitCode.STORAGE_FULL
    except KeyboardInterrupt:
        print("stopped. Run the same command again to go on.", file=sys.stderr)
        code = ExitCode.FAILED
    sys.exit(int(code))
