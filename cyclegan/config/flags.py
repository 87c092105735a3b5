"""Command-line flags of a configuration: `--section.field value` overrides one setting."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any

from tyro.conf import arg

from cyclegan.config.config import Config

Sections = Annotated[dict[str, Any], arg(name="")]
"""Field type of a command: the sections of a configuration by name, whose fields become flags."""


def sections_of(config: Config) -> dict[str, Any]:
    """Return the sections of a configuration by name: all fields except `preset`."""
    names = [each.name for each in fields(config) if each.name != "preset"]
    return {name: getattr(config, name) for name in names}


def flags_of(base: Config, argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the sections that become flags of a command, and its arguments for tyro.

    `--help-all` lists the more than one hundred settings; `--help` leaves them out.

    Args:
        base: Configuration whose values are the defaults.
        argv: Arguments of the command.
    """
    if "--help-all" in argv:
        return sections_of(base), ["--help"]
    if "--help" in argv or "-h" in argv:
        return {}, ["--help"]
    return sections_of(base), list(argv)
