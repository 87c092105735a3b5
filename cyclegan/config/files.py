"""A configuration outside the program: its file, its hash, what may change on resume."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_type_hints

from cyclegan.config.config import Config
from cyclegan.errors import ConfigError
from mrct.storage.paths import StoragePath, storage_path

SCHEMA_VERSION = 2
"""Of the file. Version 1 had no such field, and `loss.cycle_weight` for `loss.cycle.weight`."""

# What may differ when a run goes on: where and how fast it runs, not what it computes.
FREE_ON_RESUME = (
    "run.name",
    "run.storage",
    "data.store",
    "data.cache_gib",
    "data.threads",
    "data.stall_s",
    # So that a run which a damaged volume stopped can go on without it.
    "data.on_corrupt",
    "data.max_corrupt",
)
FREE_SECTIONS = ("guard.", "scale.", "schedule.", "debug.")


def resolve(config: Config) -> Config:
    """The configuration with its run named and its paths absolute.

    The name defaults to <preset>-<8 characters of the hash>, so the same settings find their run.
    """
    return replace(
        config,
        run=replace(
            config.run,
            name=config.run.name or f"{config.preset}-{config_hash(config)[:8]}",
            storage=str(storage_path(config.run.storage)),
        ),
        data=replace(config.data, store=str(config.store)),
    )


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, as on the command line."""
    return dict(_leaves(asdict(config)))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@cache
def setting_types(cls: type = Config, prefix: str = "") -> Mapping[str, object]:
    """The type of every setting, by its dotted name."""
    types: dict[str, object] = {}
    for name, hint in get_type_hints(cls).items():
        inner = isinstance(hint, type) and is_dataclass(hint)
        types |= setting_types(hint, f"{prefix}{name}.") if inner else {prefix + name: hint}
    return types


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values for the settings of these dotted names.

    Raises:
        ConfigError: A name is no setting, or a value is not allowed.
    """
    if unknown := sorted(set(values) - set(setting_types())):
        raise ConfigError(f"there is no setting {', '.join(unknown)}.")
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, setting = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[setting] = value
    changed = from_mapping(Config, tree, "the configuration", config)
    assert isinstance(changed, Config)
    return changed


def decisive(config: Config) -> dict[str, Any]:
    """The settings that change what is computed."""
    return {
        name: value
        for name, value in flat(config).items()
        if name not in FREE_ON_RESUME and not name.startswith(FREE_SECTIONS)
    }


def config_hash(config: Config) -> str:
    """SHA-256 of the settings that change what is computed."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()


def to_yaml(config: Config) -> str:
    """The whole configuration, reloadable by `load_config`."""
    import yaml  # only where there is a file: commands must answer at once

    values = {"schema_version": SCHEMA_VERSION} | asdict(config)
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False)


def load_config(path: StoragePath) -> Config:
    """Read a `config.yaml`.

    Raises:
        ConfigError: It is absent, not YAML, of another version, or has a field that this version
            does not know.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"there is no {path}. A run's folder, RUNS/NAME as `python -m cyclegan.train` printed "
            "it, holds one."
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"no configuration can be read from {path}: {error}") from error
    if isinstance(values, dict) and (found := values.pop("schema_version", None)) != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema_version {found}, and this version of the project reads "
            f"{SCHEMA_VERSION}, where loss.cycle_weight is loss.cycle.weight. Begin the run anew: "
            "python -m cyclegan.train PRESET --run.name NAME; a search: "
            "python -m tune run SPACE --name NAME. In a file of your own write "
            f"schema_version: {SCHEMA_VERSION} and the names of today."
        )
    config = from_mapping(Config, values, path.name)
    assert isinstance(config, Config)
    return config


def from_mapping(cls: type, values: object, where: str, default: Any = MISSING) -> object:
    """Build a configuration dataclass from plain values, refusing what it does not know. What they
    leave out is as in `default`, an instance of it, or as its fields say."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold settings by name, but holds {values!r}.")
    hints = get_type_hints(cls)
    defaults = {
        item.name: item.default if default is MISSING else getattr(default, item.name)
        for item in fields(cls)
    }
    if unknown := sorted(set(values) - set(defaults)):
        known = sorted(defaults)
        raise ConfigError(f"{where} has no setting {', '.join(unknown)}. Known: {known}.")
    arguments = {
        name: from_mapping(hints[name], value, f"{where}: {name}", defaults[name])
        if is_dataclass(hints[name])
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return cls(**arguments) if default is MISSING else replace(default, **arguments)
