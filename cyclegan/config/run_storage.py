"""Where runs and searches are kept: a place that outlives the job that writes there."""

import os

from cyclegan.errors import ConfigError
from mrct.job_stop import JOB_VARIABLE
from mrct.storage.paths import StoragePath, storage_path

RUNS_VARIABLE = "CYCLEGAN_STORAGE"
"""Environment variable with the folder or URL of all runs, for commands that do not name it."""
DEFAULT = "runs"
"""Folder in the working folder for runs and their results, which git ignores."""
_JOB_FILES = "/runtime_resources/"
"""Part of the path of every folder that Ray makes for a job's files."""


def runs_folder(given: str, setting: str) -> StoragePath:
    """Return the folder of all runs: the given one, else that of the environment, else `runs`.

    Args:
        given: Folder or URL; "" if none was given.
        setting: Flag that gives it, for messages.

    Raises:
        ConfigError: The command is a Ray job, and no folder is given; or it ends with the job.
    """
    named = given or os.environ.get(RUNS_VARIABLE, "")
    if not named and JOB_VARIABLE in os.environ:
        raise ConfigError(
            "This command is a Ray job, whose own folder is another one as soon as a file of the "
            f"project changes, and no other is given. Set {setting}, or {RUNS_VARIABLE} in the "
            "environment of the cluster, to a folder that all nodes share, or to a URL."
        )
    return lasting(storage_path(named or DEFAULT), setting)


def lasting(path: StoragePath, setting: str) -> StoragePath:
    """Return a path that later commands will look for.

    Raises:
        ConfigError: Ray deletes it with the files of the job.
    """
    if _JOB_FILES in str(path):
        raise ConfigError(
            f"{setting} is {path}, which Ray deletes with the files of this job. Give an absolute "
            "path on storage that all nodes share, or a URL."
        )
    return path
