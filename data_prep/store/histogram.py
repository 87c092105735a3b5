"""How the HU values of a store's CT volumes are spread, as one line of text. It draws nothing."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.store.index import Volumes
from data_prep.store.store import Store

EDGES_HU = np.arange(-1024, 2049, 64)
"""Of the bars; what lies above counts in the last."""
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Histogram:
    """HU inside the body of some volumes."""

    counts: NDArray[np.int64]
    """Voxels between each two of EDGES_HU."""
    volumes: int
    percentiles: tuple[float, float, float]
    """1, 50 and 99 %, in HU."""

    def __str__(self) -> str:
        # The root lets bone be seen beside soft tissue; no bar is blank where there is a voxel.
        heights = np.sqrt(self.counts / max(1, self.counts.max()))
        bars = "".join(_BARS[math.ceil(height * (len(_BARS) - 1))] for height in heights)
        low, middle, high = self.percentiles
        return f"|{bars}|  1 % {low:.0f}, median {middle:.0f}, 99 % {high:.0f}"


def sampled(volumes: Volumes, count: int) -> Volumes:
    """At most `count` of the volumes, evenly spread over them."""
    return volumes[:: max(1, -(-len(volumes) // count))]


def histogram_of(store: Store, volumes: Volumes) -> Histogram:
    """Read all these CT volumes and count their HU inside the body."""
    values = [store.voxels(volume)[store.body(volume) == 1] for volume in volumes]
    hu = np.concatenate(values).clip(EDGES_HU[0], EDGES_HU[-1])
    low, middle, high = np.percentile(hu, [1, 50, 99])
    return Histogram(
        counts=np.histogram(hu, EDGES_HU)[0],
        volumes=len(volumes),
        percentiles=(float(low), float(middle), float(high)),
    )
