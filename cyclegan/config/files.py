"""Configuration files: reading, writing, hashing, and the settings that may change on resume."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_type_hints

from cyclegan.config.config import Config
from cyclegan.config.pinned_path import split_pin
from cyclegan.config.presets import PRESETS
from cyclegan.config.run_storage import lasting, runs_folder
from cyclegan.config.values import did_you_mean, shown, typed
from cyclegan.errors import ConfigError
from mrct.storage.paths import StoragePath

SCHEMA_VERSION = 4
"""Version of the file; 3 had `schedule.save_every_steps` for `schedule.save_every`, 2 had `critic`
for `discriminator`, 1 had no such field."""

# Settings that may change when a run is resumed: where and how fast it runs, not what it computes.
FREE_ON_RESUME = (
    "run.name",
    "run.storage",
    "data.store",
    "data.cache_gib",
    "data.threads",
    "data.stall_s",
    # A run that was stopped by a damaged volume can be resumed without it.
    "data.on_corrupt",
    "data.max_corrupt",
    # It decides how long a run trains, not what it computes until then.
    "train.patience",
)
COMPARED = (
    "optimizer.learning_rate",
    "optimizer.discriminator_learning_rate",
    "preset",
    "run.seed",
    "train.epochs",
    "train.max_steps",
)
"""Settings that every run shows after its loss weights, in a table of runs that sorts by name."""
FREE_SECTIONS = ("guard.", "scale.", "schedule.", "debug.")


def resolve(config: Config) -> Config:
    """Return the configuration with the run's name set and its paths made absolute.

    The name defaults to <preset>-<8 characters of the hash>, so the same settings find the same
    run.

    Raises:
        ConfigError: Neither `data.store` nor CYCLEGAN_STORE is set, or a path ends with the job.
    """
    return replace(
        config,
        run=replace(
            config.run,
            name=config.run.name or f"{config.preset}-{config_hash(config)[:8]}",
            storage=str(runs_folder(config.run.storage, "--run.storage")),
        ),
        data=replace(config.data, store=str(lasting(config.store, "--data.store"))),
    )


def flatten_settings(config: Config) -> dict[str, Any]:
    """Return all settings by their dotted names, such as `loss.cycle.weight`."""
    return dict(_leaves(asdict(config)))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@cache
def setting_types(cls: type = Config, prefix: str = "") -> Mapping[str, object]:
    """Return the types of all settings by their dotted names.

    Args:
        cls: Configuration dataclass; nested ones are its sections.
        prefix: Beginning of every name.
    """
    types: dict[str, object] = {}
    for name, hint in get_type_hints(cls).items():
        inner = isinstance(hint, type) and is_dataclass(hint)
        types |= setting_types(hint, f"{prefix}{name}.") if inner else {prefix + name: hint}
    return types


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with new values for some settings.

    Args:
        config: Configuration to start from; it is not changed.
        values: New values by dotted name, such as `loss.cycle.weight`.

    Raises:
        ConfigError: A name is no setting, or a value is of another type or out of its range.

    Examples:
        >>> changed = with_settings(Config(), {"loss.cycle.weight": 5.0, "run.seed": 1})
        >>> changed.loss.cycle.weight
        5.0
    """
    if unknown := sorted(set(values) - set(setting_types())):
        raise ConfigError(
            f"There is no setting {', '.join(unknown)}.{did_you_mean(unknown[0], setting_types())}"
        )
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


def computation_settings(config: Config) -> dict[str, Any]:
    """Return the settings that change the results of a run, by dotted name.

    Of `train.init` it is the hash, wherever these weights lie; without it there is no such setting.
    """
    settings = {
        name: value
        for name, value in flatten_settings(config).items()
        if name not in FREE_ON_RESUME and not name.startswith(FREE_SECTIONS)
    }
    path, digest = split_pin(config.train.init)
    if path:
        return settings | {"train.init": digest or path}
    return {n: value for n, value in settings.items() if not n.startswith("train.init")}


def compared_settings(config: Config) -> dict[str, Any]:
    """Return the settings by which runs are compared, by dotted name.

    These are the weights of the loss, 0 for a disabled term, some others, and what differs from the
    preset.
    """
    settings = computation_settings(config)
    usual = computation_settings(PRESETS[config.preset]()) if config.preset in PRESETS else settings
    weights = {f"loss.{name}.weight": t.effective_weight for name, t in config.loss.terms.items()}
    changed = {
        name: value
        for name, value in settings.items()
        if name in COMPARED or (usual.get(name) != value and not name.endswith(".enabled"))
    }
    return changed | weights


def setting_changes(before: Config, now: Config, prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Return a line for each setting that differs and changes the results of a run.

    Args:
        before: Configuration to compare with.
        now: Configuration whose values are named last.
        prefixes: Beginnings of the names to compare.
    """
    old, new = computation_settings(before), computation_settings(now)
    return [
        f"{name}: {old.get(name, 'none')} -> {new.get(name, 'none')}"
        for name in old | new
        if name.startswith(prefixes) and old.get(name) != new.get(name)
    ]


def config_hash(config: Config) -> str:
    """Return the SHA-256 of the settings that change the results of a run, in hexadecimal."""
    return hashlib.sha256(
        json.dumps(computation_settings(config), sort_keys=True).encode()
    ).hexdigest()


def json_settings(config: Config) -> dict[str, Any]:
    """Return the settings that change the results of a run, as they are read back from JSON."""
    values: dict[str, Any] = json.loads(json.dumps(computation_settings(config)))
    return values


def to_yaml(config: Config) -> str:
    """Return the whole configuration as YAML that `load_config` reads."""
    import yaml  # imported only where needed: commands must answer at once

    values = {"schema_version": SCHEMA_VERSION} | asdict(config)
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False)


def load_config(path: StoragePath) -> Config:
    """Read a `config.yaml`.

    Args:
        path: The file itself, as in a run's folder.

    Raises:
        ConfigError: The file is absent, not YAML, of another schema version, has an unknown
            setting, or a value of another type or out of its range.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"There is no {path}. Give the folder of a run, RUNS/NAME as printed by "
            "`python -m cyclegan.train`; it contains the file."
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"No configuration can be read from {path}: {error}") from error
    if isinstance(values, dict) and (found := values.pop("schema_version", None)) != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema_version {found}, and this version of the project reads "
            f"{SCHEMA_VERSION}, where critic.filters is discriminator.filters and "
            "schedule.save_every_steps: 1000 is schedule.save_every: 1000 steps. Start a new run: "
            "`python -m cyclegan.train default --run.name NAME`; or a new search: "
            "`python -m tune run weights --name NAME`. In a file of your own write "
            f"schema_version: {SCHEMA_VERSION} and today's names."
        )
    config = from_mapping(Config, values, path.name)
    assert isinstance(config, Config)
    return config


def from_mapping(cls: type, values: object, where: str, default: Any = MISSING) -> object:
    """Build a configuration dataclass from plain values.

    Args:
        cls: Dataclass to build.
        values: Mapping from field names to values; nested mappings for nested dataclasses.
        where: Name of the source in error messages.
        default: Instance that supplies the values left out; without it the fields' defaults do.

    Raises:
        ConfigError: The values are no mapping, or contain an unknown setting, or a value of another
            type or out of its range.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must contain settings by name, but contains {shown(values)}.")
    hints = get_type_hints(cls)
    defaults = {
        item.name: item.default if default is MISSING else getattr(default, item.name)
        for item in fields(cls)
    }
    if unknown := sorted(set(values) - set(defaults), key=str):
        known = sorted(defaults)
        raise ConfigError(
            f"{where} has no setting {', '.join(map(str, unknown))}. Known: {known}."
            f"{did_you_mean(unknown[0], known)}"
        )
    arguments = {
        name: from_mapping(hints[name], value, f"{where}: {name}", defaults[name])
        if is_dataclass(hints[name])
        else typed(value, hints[name], f"{where}: {name}")
        for name, value in values.items()
    }
    return cls(**arguments) if default is MISSING else replace(default, **arguments)
