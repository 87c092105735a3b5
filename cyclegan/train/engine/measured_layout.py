"""Memory layouts that were measured on this user's GPUs, and the one that a run takes.

`benchmarks/gpu.py` measures, and writes a file in the user's cache folder. A run reads it at its
first start, and keeps its choice in its own folder; it never measures by itself.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from cyclegan.config.config import Config
from cyclegan.train.distributed import Worker, broadcast_choice
from mrct.storage.json_text import parse_json
from mrct.storage.local_path import LocalPath

ChannelsLast = Literal["auto", "yes", "no"]
"""Values of `train.channels_last`; "auto" is the default for the device."""
LAYOUT_RECORD = "layout.json"
"""File in a run's folder."""
_CHOICES: dict[Any, ChannelsLast] = {"auto": "auto", "yes": "yes", "no": "no"}
_LAYOUTS_VERSION = 1
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
"""What may be raised by reading a file of any content, or by looking for a home."""


def measured_layouts_file() -> LocalPath:
    """Return the path of the file, which may not exist.

    Raises:
        RuntimeError: There is no cache folder, because the user has no home.
    """
    base = LocalPath(os.environ.get("XDG_CACHE_HOME", ""))
    # The variable's specification ignores relative paths.
    base = base if base.is_absolute() else LocalPath("~/.cache").expanduser()
    return base / "cyclegan-mri-ct" / "gpu-layouts.json"


def record_layouts(gpu: str, preset: str, faster: Mapping[str, str]) -> LocalPath:
    """Add measurements to the file, and return its path. A damaged file is replaced.

    Args:
        gpu: Name of the GPU, as torch reports it.
        preset: Name of the preset whose step was measured.
        faster: The faster value of `train.channels_last` by the value of `train.compile`.

    Raises:
        OSError: The file cannot be written.
        RuntimeError: There is no cache folder, because the user has no home.
    """
    path = measured_layouts_file()
    try:
        layouts = _read_layouts(path)
        presets = layouts.setdefault(gpu, {})
        presets[preset] = presets.get(preset, {}) | dict(faster)
    except _DAMAGE:
        layouts = {gpu: {preset: dict(faster)}}
    path.parent.make_folder()
    path.put(
        json.dumps({"schema_version": _LAYOUTS_VERSION, "layouts": layouts}, indent=1).encode()
    )
    return path


def settle_layout(
    config: Config, gpu: str, worker: Worker, note: Callable[[str], None]
) -> ChannelsLast:
    """Return the value of `train.channels_last` for this run, the same on every worker.

    Worker 0 looks it up, and keeps it in the run's folder.

    Args:
        config: Configuration of the run.
        gpu: Name of this worker's GPU; "" on a CPU.
        worker: This worker.
        note: Called on worker 0 with messages for the user.
    """
    if not _is_open(config, gpu):
        return config.train.channels_last

    def choose() -> str:
        choice = look_up_layout(config, gpu, note)
        config.run_folder.make_folder()
        (config.run_folder / LAYOUT_RECORD).put(json.dumps({"channels_last": choice}).encode())
        return choice

    return _CHOICES[broadcast_choice(choose, worker)]


def look_up_layout(config: Config, gpu: str, note: Callable[[str], None]) -> ChannelsLast:
    """Return the value that the run's folder holds, else the measured one, else "auto".

    Nothing is written. A file that cannot be used is mentioned in a note, and ignored. The
    arguments are those of `settle_layout`.
    """
    if not _is_open(config, gpu):
        return config.train.channels_last
    for name, read in (
        ("The run's layout.json", _kept),
        ("The file of measured layouts (docs/gpu.md)", _measured),
    ):
        try:
            return _CHOICES[read(config, gpu)]
        except FileNotFoundError:
            continue
        except _DAMAGE as error:
            note(f"{name} cannot be used ({type(error).__name__}), and is ignored.")
    return "auto"


def _is_open(config: Config, gpu: str) -> bool:
    """Return whether measurements count in this run."""
    return bool(gpu) and config.train.channels_last == "auto" and not config.train.deterministic


def _kept(config: Config, gpu: str) -> Any:
    return parse_json((config.run_folder / LAYOUT_RECORD).read_text())["channels_last"]


def _measured(config: Config, gpu: str) -> Any:
    presets = _read_layouts(measured_layouts_file()).get(gpu, {})
    return presets.get(config.preset, {}).get(config.train.compile, "auto")


def _read_layouts(path: LocalPath) -> Any:
    """Return the layouts by GPU, then preset, then `train.compile`; the content is not checked."""
    content = parse_json(path.read_text())
    if content["schema_version"] != _LAYOUTS_VERSION:
        raise ValueError(f"schema_version {content['schema_version']}")
    return content["layouts"]
