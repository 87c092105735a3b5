"""Paths with the hash of what they must lead to: `PATH@sha256:HASH`, as in `train.init`."""

import re

from cyclegan.errors import require

_MARK = "@sha256:"


def split_pin(text: str) -> tuple[str, str]:
    """Return the path and the hash of a text; the hash is "" if the text has none.

    Raises:
        ConfigError: What follows the mark is not a SHA-256.

    Examples:
        >>> split_pin("runs/brain@sha256:" + 64 * "0")[0]
        'runs/brain'
        >>> split_pin("runs/brain")
        ('runs/brain', '')
    """
    path, mark, digest = text.rpartition(_MARK)
    if not mark:
        return text, ""
    require(
        bool(path and re.fullmatch("[0-9a-f]{64}", digest)),
        f"{text!r} must be a path, and after {_MARK} 64 hexadecimal digits of a SHA-256. "
        "Leave the hash out: the command adds it.",
    )
    return path, digest


def without_folders(text: str) -> str:
    """Return a text without the folders of its path, which may tell about a person or a machine.

    Examples:
        >>> without_folders("/data/smith/runs/brain")
        'brain'
        >>> without_folders("/data/smith/runs/brain/checkpoints/step_00001000")
        'brain/step_00001000'
    """
    path, digest = split_pin(text)
    *_, run, folder, name = ["", "", *path.rstrip("/").split("/")]
    name = f"{run}/{name}" if folder == "checkpoints" else name
    return pinned(name, digest) if digest else name


def pinned(path: object, digest: str) -> str:
    """Return the text of a path and the SHA-256 of what it leads to.

    Examples:
        >>> split_pin(pinned("runs/brain", 64 * "0")) == ("runs/brain", 64 * "0")
        True
    """
    return f"{path}{_MARK}{digest}"
