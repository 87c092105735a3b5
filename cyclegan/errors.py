"""Errors of training and inference whose message is written for people."""

from mrct.errors import ExitCode, UsageError, UserError


class ConfigError(UsageError):
    """A setting is unknown, out of range, or at odds with another setting or with the store."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class DataError(UserError):
    """A store holds nothing, or nothing readable, for what was asked of it."""


class LoaderError(RuntimeError):
    """The loader of batches is stuck or gone. No mistake of the user's: another try may do."""


class ModelError(UserError):
    """A model folder is missing, damaged, or does not fit its input."""


class NoModelError(ModelError):
    """There is no model folder where one was named."""

    exit_code = ExitCode.WRONG_USE


class DivergedError(UserError):
    """Training does not stay finite."""


class StoppedError(UserError):
    """Somebody stopped the run; it can go on."""


class PreemptedError(StoppedError):
    """A scheduler took the machine away; the run can go on."""

    exit_code = ExitCode.PREEMPTED


def require(condition: bool, message: str) -> None:
    """Refuse a setting with a message that says what is allowed.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(message)
