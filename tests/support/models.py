"""Model folders without the parity gate, and files that a traced generator is stored in."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from cyclegan.config.config import GeneratorConfig
from cyclegan.export.formats import FILES, write_formats
from cyclegan.export.metadata import Intensity, ModelInfo, write_info
from cyclegan.export.model_folder import CONTENT, publish_folder
from cyclegan.nets.generator import Generator
from data_prep.preprocess.spec import PreprocessingSpec

INFO = ModelInfo(
    direction="to_mri",
    inputs=("ct",),
    intensity=Intensity(mri_contrast="plain"),
    preprocessing=PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 56)),
    generator=GeneratorConfig(filters=4, blocks=1),
    run="smoke",
    config_hash="c" * 64,
    checkpoint="step_00000006",
    store_fingerprint="f" * 16,
    store_contents="c" * 16,
)


def publish_model(
    folder: Path,
    network: torch.nn.Module,
    spec: PreprocessingSpec,
    *,
    files: Callable[[Path], None] = lambda part: None,
    **changes: Any,
) -> Path:
    """A to_ct model folder; only what translate and evaluate use by default is real in it.

    And what `files` writes.
    """

    def fill(partial: Path) -> None:
        for name in CONTENT:
            (partial / name).write_text("not needed")
        save_file(network.state_dict(), partial / FILES["safetensors"])
        files(partial)
        info = replace(INFO, direction="to_ct", inputs=("mri",), preprocessing=spec)
        write_info(replace(info, **changes), partial)

    publish_folder(folder, fill)
    return folder


def traced_generator(
    factory: pytest.TempPathFactory, upsample: str, channels: int = 1
) -> tuple[Generator, Path]:
    """A small generator whose weights are large enough to matter, and its files.

    Tracing takes seconds: the test processes share one folder, which the first of them writes.
    """
    torch.manual_seed(0)
    generator = Generator(in_channels=channels, filters=4, blocks=1, upsample=upsample).eval()
    with torch.no_grad():
        for weights in generator.parameters():
            weights.normal_(0, 0.2)
    base = Path(factory.getbasetemp())
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / f"traced-{upsample}-{channels}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            write_formats(generator, channels, folder)
    return generator, folder
