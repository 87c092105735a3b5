"""Command-line arguments of `python -m cyclegan.contrast`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from mrct.cli import optional
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastCommand:
    """Fit the contrast table of a run's train split: which HU look like which MRI value, learned
    without pairs and without a network.

    The table is kept in the run's folder. `evaluate` then scores it beside the generator, and the
    checkpoints saved from then on name it.
    """

    run_folder: Positional[StoragePath]
    """Folder or URL of the run; its store needs at least one MRI and one CT to train on."""
    store: Annotated[StoragePath | None, optional("PATH|URL", "the run's data.store")] = None
    """Store of the run, if it has moved."""
    workers: Annotated[int | None, optional("N", "all cores")] = None
    """Volumes counted at a time, by Ray on this machine or on the cluster of RAY_ADDRESS; 0 counts
    them in this process."""
    overwrite: bool = False
    """Fit again where the run has a table, although checkpoints may name the earlier one."""
