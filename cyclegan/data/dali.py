"""DALI graph that turns stored slices into a batch, on the CPU or on a GPU.

It normalises to [-1, 1], warps, changes the intensities of the MRI (gamma, bias field, blur, noise)
and, if configured, inverts its contrast. All random values are inputs of the graph, one set per
slice. On a CPU the last steps, clipping and contrast, are numpy's: each operation of DALI is a pass
that writes a new image.

Axes: B samples, C neighbouring slices, H rows, W columns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, math, types
from torch.utils.dlpack import from_dlpack

from cyclegan.data.batch import Batch
from cyclegan.data.stored_slices import BatchFormat, NoiseKind, StoredSlices
from cyclegan.nets.input_channels import PixelSize
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import invert_contrast
from mrct.imaging.modality import MODALITIES, Modality

Outputs = tuple[Any, ...]
"""Tensors mri, ct, mri_body, ct_body, and companion and trust if they are made; of DALI or torch,
each with its batch axis in front."""
LAYOUT = "FHWC"
"""Neighbouring slices are the frames of a sequence of single-channel images."""
HU_SCALE = 2 / (WINDOW_HU[1] - WINDOW_HU[0])
"""Network units for one HU."""
_conditional: Any = fn._conditional  # type: ignore[attr-defined]  # DALI's type stubs leave it out


def make_graph(form: BatchFormat, *, threads: int, gpu: bool, device_id: int | None) -> Pipeline:
    """Define the graph, without building it.

    Its outputs per sample are mri and ct, [C, H, W, 1], and mri_body and ct_body, [1, H, W, 1];
    with companions also these, [1, H, W, 1], and their trust, [2, H, W, 1].

    Args:
        form: Shape, type and contrast of the batches.
        threads: CPU threads of DALI.
        gpu: Whether images are processed on a GPU.
        device_id: GPU of the graph. With None, a GPU graph can be defined and serialised on a
            machine without a GPU, but not run.
    """
    # One batch at a time, because the prefetch thread already works ahead. Outputs of the dynamic
    # executor outlive the next run, so torch can use their memory without a copy.
    graph = Pipeline(
        batch_size=form.batch_size,
        num_threads=threads,
        device_id=device_id,
        exec_dynamic=True,
        prefetch_queue_depth=1,
    )
    with graph:
        matrices = {name: _source(name, "matrix", types.FLOAT, 2) for name in MODALITIES}
        domains = (_domain(name, matrix, form, gpu) for name, matrix in matrices.items())
        images, bodies = zip(*domains, strict=True)
        others = _companion(matrices["mri"], form, gpu) if form.companions else ()
        graph.set_outputs(*images, *bodies, *others)
    return graph


def _domain(modality: Modality, matrix: Any, form: BatchFormat, gpu: bool) -> tuple[Any, Any]:
    """Define the nodes of one domain: images in [-1, 1], and the own slices' masks of 0 and 1."""
    source, pixels = partial(_source, modality), partial(_pixels, modality, gpu)
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
    if form.changes_intensity and modality == "mri":
        image = _change_intensity(image, form.noise_kind, gpu)
    if not gpu:
        return image, body
    image = math.min(math.max(image, -1.0), 1.0)
    body = fn.cast(body, dtype=types.FLOAT)
    if inverted:
        image = invert_contrast(image, body)
        body = body[own : own + 1] if own else body
    return _in_format(image, form), _in_format(body, form)


def _companion(matrix: Any, form: BatchFormat, gpu: bool) -> tuple[Any, Any]:
    """Define the nodes of the companions, which move with their MRI: CTs in [-1, 1] and trust."""
    pixels = partial(_pixels, "mri", gpu)
    scale = _source("mri", "trust", types.FLOAT, 4, LAYOUT)
    image = fn.brightness_contrast(
        pixels("companion", types.INT16),
        brightness=HU_SCALE,
        brightness_shift=-WINDOW_HU[0] * HU_SCALE - 1,
        contrast_center=0.0,
        dtype=types.FLOAT,
    )
    image = _warp(image, matrix, types.INTERP_LINEAR, fill=-1.0, gpu=gpu)
    weight = pixels("weight", types.UINT8)
    weight = _warp(weight, matrix, types.INTERP_LINEAR, fill=0.0, gpu=gpu)
    trust = fn.cast(weight, dtype=types.FLOAT) * (scale.gpu() if gpu else scale)
    if not gpu:
        return image, trust
    image = math.min(math.max(image, -1.0), 1.0)
    return _in_format(image, form), _in_format(trust, form)


def _source(modality: Modality, field: str, dtype: Any, ndim: int, layout: str = "") -> Any:
    return fn.external_source(name=f"{modality}_{field}", dtype=dtype, ndim=ndim, layout=layout)


def _pixels(modality: Modality, gpu: bool, field: str, dtype: Any) -> Any:
    node = _source(modality, field, dtype, 4, LAYOUT)
    return node.gpu() if gpu else node  # as int16, half the bytes of floats


def _change_intensity(image: Any, noise_kind: NoiseKind, gpu: bool) -> Any:
    """Change the intensities of the MRI slices, each only in what was drawn for it."""

    def numbers(field: str) -> tuple[Any, Any]:
        node = _source("mri", field, types.FLOAT, 0)
        return node, node.gpu() if gpu else node

    pixels = partial(_pixels, "mri", gpu)
    gamma, power = numbers("gamma")
    image = _change_some(
        gamma != 1.0, lambda x, g: math.pow(math.max((x + 1) * 0.5, 0.0), g) * 2 - 1, image, power
    )
    is_biased = _source("mri", "is_biased", types.BOOL, 0)
    bias = pixels("bias", types.FLOAT)
    image = _change_some(is_biased, lambda x, field: (x + 1) * field - 1, image, bias)
    sigmas = _source("mri", "blur", types.FLOAT, 1)
    image = _change_some(
        sigmas[0] > 0.0, lambda x, sigma: fn.gaussian_blur(x, sigma=sigma), image, sigmas
    )
    noise_step, step = numbers("noise_step")
    noise = pixels("noise", types.INT8)
    if noise_kind == "gaussian":
        return _change_some(noise_step > 0.0, lambda x, n, s: x + n * s, image, noise, step)
    imaginary = pixels("noise_imaginary", types.INT8)
    return _change_some(noise_step > 0.0, _rician, image, noise, imaginary, step)


def _rician(image: Any, noise: Any, imaginary: Any, step: Any) -> Any:
    """Return the magnitude of a complex signal, above air, with noise in both parts."""
    real, imaginary = image + 1 + noise * step, imaginary * step
    return math.sqrt(real * real + imaginary * imaginary) - 1


def _change_some(chosen: Any, change: Callable[..., Any], image: Any, *parameters: Any) -> Any:
    """Apply a change to the slices that are chosen; the others cost no time and no copy."""
    # DALI's `if` of a pipeline function, without the rewriting of its source.
    on, off = _conditional.split(image, predicate=chosen)
    given = [_conditional.split(each, predicate=chosen)[0] for each in parameters]
    return _conditional.merge(change(on, *given), off, predicate=chosen)


def _finish_on_cpu(outputs: Outputs, form: BatchFormat) -> Outputs:
    """Clip the images and do all that follows in the graph of a GPU."""
    # each: [B, C, H, W, 1]
    mri, ct, mri_body, ct_body, *others = (from_dlpack(tensor).numpy() for tensor in outputs)
    mri_body, ct_body = mri_body.astype(np.float32), ct_body.astype(np.float32)
    for image in (mri, ct, *others[:1]):
        np.clip(image, -1, 1, out=image)
    if form.mri_contrast == "inverted":
        mri, own = invert_contrast(mri, mri_body), form.channels // 2
        mri_body = mri_body[:, own : own + 1]
    made = mri, ct, mri_body, ct_body, *others
    return tuple(torch.from_numpy(_array_in_format(x, form)) for x in made)


def _warp(pixels: Any, matrix: Any, interpolation: Any, *, fill: float, gpu: bool) -> Any:
    """Warp the slices of a sample by its matrix; pixels from outside the image become `fill`."""
    if gpu:
        return fn.warp_affine(pixels, matrix[:2].gpu(), interp_type=interpolation, fill_value=fill)
    # OpenCV's warp is four times as fast as warp_affine on a CPU, and closer to scipy (3e-5, not
    # 1e-3).
    return fn.experimental.warp_perspective(
        pixels, matrix, interp_type=interpolation, fill_value=[fill]
    )


def _in_format(images: Any, form: BatchFormat) -> Any:
    """Return the node of the images in their type and layout."""
    if form.half:
        images = fn.cast(images, dtype=types.FLOAT16)
    if form.channels_last and form.channels > 1:
        # [C, H, W, 1] -> [1, H, W, C]
        images = fn.transpose(images, perm=[3, 1, 2, 0])
    return images


def _array_in_format(images: NDArray[Any], form: BatchFormat) -> NDArray[Any]:
    """Return an array of images in their type and layout."""
    if form.channels_last and form.channels > 1:
        # [B, C, H, W, 1] -> [B, 1, H, W, C]
        images = images.transpose(0, 4, 2, 3, 1)
    return np.ascontiguousarray(images, np.float16 if form.half else np.float32)


class BatchPipeline:
    """Runner of the graph on one device."""

    def __init__(self, form: BatchFormat, *, threads: int, device: torch.device) -> None:
        """Build the graph.

        Args:
            form: Shape, type and contrast of the batches.
            threads: CPU threads of DALI.
            device: Device of the batches; a GPU is the calling thread's current one.
        """
        gpu = device.type == "cuda"
        self._form, self._gpu = form, gpu
        self._graph = make_graph(
            form, threads=threads, gpu=gpu, device_id=(device.index or 0) if gpu else None
        )
        self._graph.build()

    def start(self, mri: StoredSlices, ct: StoredSlices) -> None:
        """Start preparing a batch, and return at once; only one at a time."""
        for name, values in (mri.inputs("mri") | ct.inputs("ct")).items():
            self._graph.feed_input(name, values)
        self._graph.schedule_run()

    def finish(self) -> Outputs:
        """Wait until the batch is complete and return it for `to_batch`."""
        # Without a CUDA stream the calling thread waits for the GPU, not the kernels of a step.
        outputs = tuple(images.as_tensor() for images in self._graph.share_outputs())
        # The dynamic executor keeps them valid for as long as they are referenced.
        self._graph.release_outputs()
        return outputs if self._gpu else _finish_on_cpu(outputs, self._form)


def to_batch(outputs: Outputs, pixel_mm: PixelSize) -> Batch:
    """Return a batch of the pipeline's outputs, without a copy.

    DALI frees the memory of an image when the last tensor that refers to it is deleted. On a GPU a
    thread of DALI's first waits until the device has done all queued work, so kernels that were
    queued on a tensor before it was deleted still read its own values (checked in tests/gpu).
    """
    tensors = [from_dlpack(images) for images in outputs]
    # tensor: [B, C, H, W, 1] -> [B, C, H, W], or channels_last: [B, 1, H, W, C] -> [B, C, H, W]
    mri, ct, mri_body, ct_body, *others = (
        t[..., 0] if t.shape[-1] == 1 else t[:, 0].permute(0, 3, 1, 2) for t in tensors
    )
    companion, trust = others or (None, None)
    return Batch(
        mri=mri,
        ct=ct,
        mri_body=mri_body,
        ct_body=ct_body,
        companion=companion,
        trust=trust,
        pixel_mm=pixel_mm,
    )
