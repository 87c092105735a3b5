"""The DALI graph that turns stored slices into a batch: one graph, on the CPU or on a GPU.

It normalises to [-1, 1], warps, adds noise to the MRI and, where asked, inverts its contrast.
Everything random comes in as a parameter of each slice; it knows nothing of stores, order or seeds.

Axes: B samples, C neighbouring slices, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, math, types
from torch.utils.dlpack import from_dlpack

from cyclegan.data.augmentation import LEVELS
from cyclegan.data.batch import Batch
from mrct.imaging.intensity import invert_contrast
from mrct.imaging.volume import Modality

MriContrast = Literal["plain", "inverted"]
Outputs = tuple[Any, ...]
"""DALI's tensor lists mri, ct, mri_body, ct_body."""
LAYOUT = "FHWC"
"""Neighbouring slices are the frames of a sequence of pictures with one channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What batches are made of and how they look; fixed for a graph."""

    batch_size: int
    channels: int = 1
    """Neighbouring slices of an image, the sample's own in the middle."""
    mri_contrast: MriContrast = "plain"
    noise: bool = False
    """Whether noise is added to the MRI at all."""
    half: bool = False
    """float16 instead of float32."""
    channels_last: bool = False
    """Memory layout of images with more than one channel."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredSlices:
    """B slices of one domain, each with its neighbours, as stored, and what is done to each."""

    voxels: NDArray[np.int16]
    """[B, C, H, W]."""
    body: NDArray[np.uint8]
    """[B, C, H, W], 0 or 1."""
    matrix: NDArray[np.float32]
    """[B, 3, 3], (x, y, 1) of an output pixel to that of the input; centres lie at halves."""
    low: NDArray[np.float32]
    """[B], the stored value that becomes -1."""
    scale: NDArray[np.float32]
    """[B], network units for one stored unit: 2 / (high - low)."""
    height: NDArray[np.float32]
    """[B], relative height in the body; what the graph makes of a slice does not depend on it."""
    noise: NDArray[np.int8] | None = None
    """[B, C, H, W], in LEVELS to the standard deviation; of an MRI where the form has noise."""
    noise_level: NDArray[np.float32] | None = None
    """[B], standard deviation in network units."""

    def inputs(self, modality: Modality) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        inputs: dict[str, NDArray[Any]] = {
            "voxels": self.voxels[..., None],
            "body": self.body[..., None],
            "matrix": self.matrix,
            "scale": self.scale,
            "offset": -self.low * self.scale - 1,
        }
        if self.noise is not None and self.noise_level is not None:
            inputs |= {"noise": self.noise[..., None], "noise_step": self.noise_level / LEVELS}
        return {f"{modality}_{name}": values for name, values in inputs.items()}


def make_graph(form: Form, *, threads: int, gpu: bool, device_id: int | None) -> Pipeline:
    """The graph, not yet built. Outputs: mri, ct [C, H, W, 1] a sample, mri_body, ct_body [1, ...].

    A GPU graph can be made and serialised without a GPU when `device_id` is None, but not run.
    """
    # One batch at a time: the thread that runs it is what works ahead. The dynamic executor hands
    # out memory that outlives the next run, which torch can take without a copy.
    graph = Pipeline(
        batch_size=form.batch_size,
        num_threads=threads,
        device_id=device_id,
        exec_dynamic=True,
        prefetch_queue_depth=1,
    )
    with graph:
        images, bodies = zip(*(_domain(name, form, gpu) for name in ("mri", "ct")), strict=True)
        graph.set_outputs(*images, *bodies)
    return graph


def _domain(modality: Modality, form: Form, gpu: bool) -> tuple[Any, Any]:
    """Graph nodes of one domain: images in [-1, 1], and the own slices' masks of 0 and 1."""

    def source(field: str, dtype: Any, ndim: int, layout: str | None = None) -> Any:
        return fn.external_source(name=f"{modality}_{field}", dtype=dtype, ndim=ndim, layout=layout)

    def pixels(field: str, dtype: Any) -> Any:
        node = source(field, dtype, 4, LAYOUT)
        return node.gpu() if gpu else node  # as stored: half the bytes of floats

    matrix = source("matrix", types.FLOAT, 2)
    # (x - low) * scale - 1 in one pass; arithmetic nodes would take three.
    linear = {"brightness": source("scale", types.FLOAT, 0), "contrast_center": 0.0}
    offset = source("offset", types.FLOAT, 0)
    voxels = pixels("voxels", types.INT16)
    image = fn.brightness_contrast(voxels, brightness_shift=offset, dtype=types.FLOAT, **linear)
    image = _warp(image, matrix, types.INTERP_LINEAR, fill=-1.0, gpu=gpu)
    body, own = pixels("body", types.UINT8), form.channels // 2
    inverted = form.mri_contrast == "inverted" and modality == "mri"
    if own and not inverted:  # else the neighbours' masks are needed too
        body = body[own : own + 1]
    body = _warp(body, matrix, types.INTERP_NN, fill=0.0, gpu=gpu)
    if form.noise and modality == "mri":
        step = source("noise_step", types.FLOAT, 0)
        image = image + pixels("noise", types.INT8) * (step.gpu() if gpu else step)
    image = math.min(math.max(image, -1.0), 1.0)
    body = fn.cast(body, dtype=types.FLOAT)
    if inverted:
        image = invert_contrast(image, body)
        body = body[own : own + 1] if own else body
    return _finish(image, form), _finish(body, form)


def _warp(pixels: Any, matrix: Any, interpolation: Any, *, fill: float, gpu: bool) -> Any:
    """Move the pixels of a sample's slices by its matrix; `fill` comes in from beyond them."""
    if gpu:
        return fn.warp_affine(pixels, matrix[:2].gpu(), interp_type=interpolation, fill_value=fill)
    # OpenCV's: four times as fast as warp_affine on a CPU, and nearer to scipy (3e-5, not 1e-3).
    return fn.experimental.warp_perspective(
        pixels, matrix, interp_type=interpolation, fill_value=[fill]
    )


def _finish(images: Any, form: Form) -> Any:
    if form.half:
        images = fn.cast(images, dtype=types.FLOAT16)
    if form.channels_last and form.channels > 1:
        # [C, H, W, 1] -> [1, H, W, C]
        images = fn.transpose(images, perm=[3, 1, 2, 0])
    return images


class BatchMaker:
    """Runs the graph on one device."""

    def __init__(
        self, form: Form, *, threads: int, device: torch.device, cuda_stream: Any = None
    ) -> None:
        """`cuda_stream` reads the batches: DALI orders its own work by it."""
        gpu = device.type == "cuda"
        self._form = form
        self._graph = make_graph(
            form, threads=threads, gpu=gpu, device_id=(device.index or 0) if gpu else None
        )
        self._graph.build()
        self._stream = cuda_stream

    def start(self, mri: StoredSlices, ct: StoredSlices) -> None:
        """Begin to make a batch, and return at once; one at a time."""
        for name, values in (mri.inputs("mri") | ct.inputs("ct")).items():
            self._graph.feed_input(name, values)
        self._graph.schedule_run()

    def finish(self) -> Outputs:
        """Wait for the batch, in DALI's memory, for `to_batch`."""
        outputs: Outputs = self._graph.share_outputs(self._stream)
        # The dynamic executor leaves them valid for as long as somebody looks into them.
        self._graph.release_outputs()
        return outputs


def reading_stream(device: torch.device) -> Any:
    """The CUDA stream of the calling thread, which is to read the batches; None for a CPU.

    The batch is to be ordered by the stream that reads it, so that memory which torch lets go of
    is not written over before the kernels queued on it are done (tests/gpu checks it).
    """
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def to_batch(outputs: Outputs) -> Batch:
    """Give a batch to torch without a copy, in the thread and on the stream that will use it.

    DALI frees the memory of an image when the last tensor that looks into it is gone.
    """
    tensors = [from_dlpack(images.as_tensor()) for images in outputs]
    # tensor: [B, C, H, W, 1] -> [B, C, H, W], or channels_last: [B, 1, H, W, C] -> [B, C, H, W]
    mri, ct, mri_body, ct_body = (
        t[..., 0] if t.shape[-1] == 1 else t[:, 0].permute(0, 3, 1, 2) for t in tensors
    )
    return Batch(mri=mri, ct=ct, mri_body=mri_body, ct_body=ct_body)
