"""A configuration as flags of a command: `--section.field value` changes what it starts from."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

from tyro.conf import arg

from cyclegan.config.config import Config

Sections = Annotated[dict[str, Any], arg(name="")]
"""As a field of a command: the sections of a configuration by name; their fields become flags."""


def sections_of(config: Config) -> dict[str, Any]:
    """The sections of a configuration; all of it but where its values came from."""
    names = [each.name for each in fields(config) if each.name != "preset"]
    return {name: getattr(config, name) for name in names}


def flags_of(base: Config, argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The sections that become flags of a command, and its arguments for tyro: the over a hundred
    settings are in the help by --help-all, and not by --help."""
    if "--help-all" in argv:
        return sections_of(base), ["--help"]
    if "--help" in argv or "-h" in argv:
        return {}, ["--help"]
    return sections_of(base), list(argv)
