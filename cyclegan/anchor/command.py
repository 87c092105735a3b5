"""Command-line arguments of `python -m cyclegan.anchor`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from mrct.cli import optional
from mrct.errors import UsageError
from mrct.storage.paths import StoragePath


@dataclass(frozen=True, kw_only=True, slots=True)
class AnchorCommand:
    """Warp training CTs onto the training MRIs of a store: each MRI gets CTs of other people on its
    own voxels, and how far each of them is trusted.

    The CTs are registered to a synthetic CT of the MRI, by the contrast table or by a model. The
    warps are kept in the store, outside its index. After a kill run the same command again.
    """

    store: Positional[StoragePath]
    """The store, a folder or a URL; its train split needs an MRI and a CT."""
    run: Annotated[StoragePath | None, optional("RUN", "one is fitted to the train split")] = None
    """Run whose contrast table is used, with the volumes that the run began with."""
    model: Annotated[StoragePath | None, optional("RUN|MODEL", "the contrast table")] = None
    """Register to the synthetic CTs of a run or an exported model: a second round, which pays once
    a network is better than the table."""
    ct_per_mri: int = 6
    """Largest number of CTs for an MRI; each takes some seconds of a core."""
    workers: Annotated[int | None, optional("N", "all cores")] = None
    """MRIs at a time, by Ray on this machine or on the cluster of RAY_ADDRESS; 0 does without
    Ray."""
    picture: Annotated[Path | None, optional("PATH", "STORE.warps.png")] = None
    """Picture (PNG) of three MRIs: synthetic CT, best and worst warp, and their mean by weight."""

    def __post_init__(self) -> None:
        if self.ct_per_mri < 1:
            raise UsageError(f"--ct-per-mri is {self.ct_per_mri}: give at least 1; 4 to 6 pay.")
