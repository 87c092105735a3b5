"""Whether a program accepts the arguments of a command, without doing its work."""

import importlib
from collections.abc import Callable, Sequence
from typing import NoReturn

import pytest

import mrct.cli
from mrct.cli import apply_shared_options

PROGRAM = r"(?:data_prep|cyclegan\.(?:train|contrast|evaluate|export|translate)|tune|cluster)"


class ParsedError(Exception):
    """Raised once all arguments are accepted, in the place of the work."""


def only(parse: Callable[..., object]) -> Callable[..., NoReturn]:
    """That stops where the work would begin."""

    def parse_only(*arguments, **options):
        raise ParsedError(parse(*arguments, **options))

    return parse_only


def refusal(
    program: str, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> BaseException | None:
    """With what a program refuses the arguments; None if it accepts them."""
    module = importlib.import_module(f"{program}.__main__")
    for name in {"parse", "parse_group"} & vars(module).keys():
        monkeypatch.setattr(module, name, only(getattr(mrct.cli, name)))
    try:
        module.main(apply_shared_options(list(arguments)))
    except ParsedError:
        return None
    except (SystemExit, Exception) as error:
        return error
    return AssertionError("it did not reach the end of its arguments")
