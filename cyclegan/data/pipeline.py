"""The DALI graph that turns stored slices into a batch: one graph, on the CPU or on a GPU.

It warps, normalises to [-1, 1] and, where asked, inverts the MRI's contrast. Everything random
comes in as a parameter of each slice; it knows nothing of stores, order or seeds.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, math, types
from torch.utils.dlpack import from_dlpack

from cyclegan.data.batch import Batch
from data_prep.intensity import WINDOW_HU, invert_contrast
from data_prep.volume import Modality

MriContrast = Literal["plain", "inverted"]
Outputs = tuple[Any, ...]
"""DALI's tensor lists mri, ct, mri_body, ct_body."""

AIR = {"mri": 0.0, "ct": WINDOW_HU[0]}
"""Stored value that fills what a warp moves in from beyond the slice."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredSlices:
    """B slices of one domain as they are stored, and what is to be done to each."""

    voxels: NDArray[np.int16]
    """[B, H, W]."""
    body: NDArray[np.uint8]
    """[B, H, W], 0 or 1."""
    matrix: NDArray[np.float32]
    """[B, 2, 3], (x, y, 1) of an output pixel to (x, y) of the input; centres lie at halves."""
    low: NDArray[np.float32]
    """[B], the stored value that becomes -1."""
    scale: NDArray[np.float32]
    """[B], network units for one stored unit: 2 / (high - low)."""

    def inputs(self, modality: Modality) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        # DALI warps images with channels only: [B, H, W] -> [B, H, W, 1]
        return {
            f"{modality}_voxels": self.voxels[..., None],
            f"{modality}_body": self.body[..., None],
            f"{modality}_matrix": self.matrix,
            f"{modality}_low": self.low,
            f"{modality}_scale": self.scale,
        }


def make_graph(
    batch_size: int, mri_contrast: MriContrast, *, threads: int, gpu: bool, device_id: int | None
) -> Pipeline:
    """The graph, not yet built. Its outputs: mri, ct, mri_body, ct_body, float32 [B, H, W, 1].

    A GPU graph can be made and serialised without a GPU when `device_id` is None, but not run.
    """

    # One batch at a time: the thread that runs it is what works ahead. The dynamic executor hands
    # out memory that outlives the next run, which torch can take without a copy.
    graph = Pipeline(
        batch_size=batch_size,
        num_threads=threads,
        device_id=device_id,
        exec_dynamic=True,
        prefetch_queue_depth=1,
    )
    with graph:
        mri, mri_body = _warped("mri", gpu)
        ct, ct_body = _warped("ct", gpu)
        if mri_contrast == "inverted":
            mri = invert_contrast(mri, mri_body)
        graph.set_outputs(mri, ct, mri_body, ct_body)
    return graph


def _warped(modality: Modality, gpu: bool) -> tuple[Any, Any]:
    """Graph nodes of one domain: images in [-1, 1] and body masks of 0 and 1."""

    def source(field: str, dtype: Any, ndim: int, layout: str | None = None) -> Any:
        node = fn.external_source(name=f"{modality}_{field}", dtype=dtype, ndim=ndim, layout=layout)
        return node.gpu() if gpu else node

    voxels, body = source("voxels", types.INT16, 3, "HWC"), source("body", types.UINT8, 3, "HWC")
    matrix = source("matrix", types.FLOAT, 2)
    low, scale = source("low", types.FLOAT, 0), source("scale", types.FLOAT, 0)

    linear = {"interp_type": types.INTERP_LINEAR, "fill_value": AIR[modality]}
    nearest = {"interp_type": types.INTERP_NN, "fill_value": 0.0}
    warped = fn.warp_affine(voxels, matrix, dtype=types.FLOAT, **linear)
    warped_body = fn.warp_affine(body, matrix, dtype=types.FLOAT, **nearest)
    # intensity.normalise, whose clip() graph nodes lack; math.clamp takes twice as long
    image = math.min(math.max((warped - low) * scale - 1, -1.0), 1.0)
    return image, warped_body


class BatchMaker:
    """Runs the graph on one device."""

    def __init__(
        self, batch_size: int, mri_contrast: MriContrast, *, threads: int, device: torch.device
    ) -> None:
        gpu = device.type == "cuda"
        self._graph = make_graph(
            batch_size,
            mri_contrast,
            threads=threads,
            gpu=gpu,
            device_id=(device.index or 0) if gpu else None,
        )
        self._graph.build()
        # The batch is to be ordered by the stream that reads it, so that memory which torch lets go
        # of is not written over before the kernels queued on it are done (tests/gpu checks it).
        self._stream = torch.cuda.current_stream(device) if gpu else None

    def run(self, mri: StoredSlices, ct: StoredSlices) -> Outputs:
        """Make a batch in DALI's memory, for `to_batch`."""
        outputs: Outputs = self._graph.run(self._stream, **mri.inputs("mri"), **ct.inputs("ct"))
        return outputs


def to_batch(outputs: Outputs) -> Batch:
    """Give a batch to torch without a copy, in the thread and on the stream that will use it.

    DALI frees the memory of an image when the last tensor that looks into it is gone.
    """
    tensors = [from_dlpack(images.as_tensor()) for images in outputs]
    # tensor: [B, H, W, 1] -> [B, 1, H, W]
    mri, ct, mri_body, ct_body = (t.view(t.shape[0], 1, *t.shape[1:3]) for t in tensors)
    return Batch(mri=mri, ct=ct, mri_body=mri_body, ct_body=ct_body)
