"""Name and home of a user who has neither, as in many containers."""

import getpass
import os
from pathlib import Path

NO_HOME = "/nonexistent"
"""Home of a user without one, as Debian has it; nobody can put files there."""


def name_the_user() -> None:
    """Set a name and a home where there is none: MONAI and Ray fail to import without them."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["LOGNAME"] = f"uid_{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NO_HOME
