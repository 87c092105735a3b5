"""Slices with known pixels, and the batch that the graph makes of them on a CPU."""

from typing import Any

import numpy as np
import torch
from scipy import ndimage

from cyclegan.config.config import DataConfig
from cyclegan.data.augmentation import Augmentation
from cyclegan.data.batch import Batch
from cyclegan.data.dali import BatchPipeline, Outputs, to_batch
from cyclegan.data.philox import Stream
from cyclegan.data.stored_slices import BatchFormat, StoredSlices
from mrct.imaging.hounsfield import WINDOW_HU
from mrct.imaging.intensity import Window

CPU = torch.device("cpu")
SIZE = (40, 32)
B = 6
WINDOWS = {"mri": (0.0, 900.0), "ct": WINDOW_HU}


def some_slices(
    modality: str,
    augmentation: Augmentation,
    seed: int = 0,
    window: Window | None = None,
    channels: int = 1,
) -> StoredSlices:
    """Smooth random pictures with a blob of body, some of it beyond the window's high end."""
    random = np.random.default_rng(seed)
    low, high = window or WINDOWS[modality]
    shape = (B, channels, *SIZE)
    texture = ndimage.gaussian_filter(random.standard_normal(shape), (0, 0, 2, 2)) * 4
    body = ndimage.gaussian_filter(random.standard_normal(shape), (0, 0, 5, 5)) > 0
    return StoredSlices(
        voxels=np.clip((low + high) / 2 * (1 + texture), low, 4000).astype(np.int16),
        body=body.astype(np.uint8),
        matrix=augmentation.matrices(SIZE, (1.0, 1.0)),
        low=np.full(B, low, np.float32),
        height=np.zeros(B, np.float32),
        scale=(2 * augmentation.gain / (high - low)).astype(np.float32),
    )


def made(mri: StoredSlices, ct: StoredSlices, **form: Any) -> Batch:
    return to_batch(
        outputs(BatchPipeline(BatchFormat(batch_size=B, **form), threads=1, device=CPU), mri, ct),
        (1.0, 1.0),
    )


def outputs(maker: BatchPipeline, mri: StoredSlices, ct: StoredSlices) -> Outputs:
    maker.start(mri, ct)
    return maker.finish()


def drawn(stream: Stream) -> Augmentation:
    return Augmentation.draw(DataConfig(contrast=0.3), 5, stream, np.arange(B))
