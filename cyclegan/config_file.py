"""A configuration outside the program: its file, its hash, what may change on resume."""

import hashlib
import json
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, get_type_hints

from cyclegan.config import Config
from cyclegan.errors import ConfigError
from data_prep.place import Place, place

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
            storage=str(place(config.run.storage)),
        ),
        data=replace(config.data, store=str(config.store)),
    )


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name, as on the command line."""
    leaves: dict[str, Any] = {}
    for section, value in asdict(config).items():
        if isinstance(value, dict):
            leaves |= {f"{section}.{name}": leaf for name, leaf in value.items()}
        else:
            leaves[section] = value
    return leaves


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

    return yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False)


def load_config(path: Place) -> Config:
    """Read a `config.yaml`.

    Raises:
        ConfigError: It is absent, not YAML, or has a field that this version does not know.
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
    config = from_mapping(Config, values, path.name)
    assert isinstance(config, Config)
    return config


def from_mapping(cls: type, values: object, where: str) -> object:
    """Build a configuration dataclass from plain values, refusing what it does not know."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold settings by name, but holds {values!r}.")
    hints = get_type_hints(cls)
    known = {item.name for item in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{where} has no setting {', '.join(unknown)}. Known: {sorted(known)}.")
    arguments = {
        name: from_mapping(hints[name], value, f"{where}: {name}")
        if is_dataclass(hints[name])
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return cls(**arguments)
