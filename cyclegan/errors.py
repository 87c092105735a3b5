"""Errors of training and inference whose messages are written for users."""

from mrct.errors import ExitCode, UsageError, UserError


class ConfigError(UsageError):
    """A setting is unknown, out of range, or in conflict with another setting or with the store."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class DataError(UserError):
    """A store has no data, or no readable data, for what was requested."""


class LoaderError(RuntimeError):
    """The batch loader hangs or has ended. This is not a user error; a retry may succeed."""


class ModelError(UserError):
    """A model folder is missing, damaged, or does not fit its input."""


class NoModelError(ModelError):
    """The named model folder does not exist."""

    exit_code = ExitCode.WRONG_USE


class TableError(UserError):
    """A contrast table is missing, damaged, or not the one that a checkpoint names."""


class DivergedError(UserError):
    """Training diverged: updates stay non-finite."""


class StoppedError(UserError):
    """The user stopped the run; it can be resumed."""


class PreemptedError(StoppedError):
    """A scheduler preempted the run; it can be resumed."""

    exit_code = ExitCode.PREEMPTED


def require(condition: bool, message: str) -> None:
    """Raise a `ConfigError` unless a condition on the settings holds.

    Args:
        condition: Must be true for the settings to be accepted.
        message: States which values are allowed and, where it is known, which one was given.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(message)
