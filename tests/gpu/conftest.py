"""Where these tests run: on a GPU, and small on the CPU, so that they cannot rot without one.

`make gpu` runs them with any interpreter that has torch and pytest, so this is all they share with
the other tests.
"""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec

import pytest
import torch

from benchmarks.on_gpu.bench import Bench
from mrct.storage.local_path import LocalPath
from tests.support.torch_settings import kept_settings

NEEDED = {
    "test_export.py": ("onnx", "onnxruntime", "onnxscript"),
    "test_pipeline.py": ("nvidia.dali", "scipy", "tensorstore", "zarr"),
}


def is_installed(library: str) -> bool:
    with suppress(ModuleNotFoundError):
        return find_spec(library) is not None
    return False


ABSENT = {
    file: [library for library in libraries if not is_installed(library)]
    for file, libraries in NEEDED.items()
}
collect_ignore = [file for file, libraries in ABSENT.items() if libraries]


def pytest_report_header() -> list[str]:
    return [
        f"SKIP tests/gpu/{file}: {', '.join(libraries)} not installed"
        for file, libraries in ABSENT.items()
        if libraries
    ]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The first GPU, or the CPU."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0) if request.param == "cuda" else torch.device("cpu")


@pytest.fixture
def bench(device: torch.device) -> Bench:
    """Networks of a preset with their widths cut."""
    filters, blocks = (4, 1) if device.type == "cpu" else (16, 3)
    size = 32 if device.type == "cpu" else 64
    return Bench(device=device, size=size, filters=filters, blocks=blocks)


@pytest.fixture
def folder(tmp_path) -> LocalPath:
    """`tmp_path` as the type of runs and stores, without the conftest of all tests too."""
    return LocalPath(tmp_path)


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    with kept_settings():
        yield
