"""Command-line flags of a configuration: `--section.field value` overrides one setting."""

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
