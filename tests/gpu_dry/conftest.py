"""Every test here needs the CUDA build of torch under the stubs: `make gpu-dry`."""

from collections.abc import Iterator

import pytest
import torch

from tests.gpu_dry.stub_run import DEVICE, STUB
from tests.support.torch_settings import kept_settings


@pytest.fixture(scope="session", autouse=True)
def stub_of_a_gpu() -> None:
    """Skip where torch does not see the stubs; else make DEVICE current, as Ray does."""
    if not (torch.cuda.is_available() and torch.cuda.get_device_name(0) == STUB):
        pytest.skip("needs .venv-gpu and its stubs of a GPU: make gpu-dry")
    torch.cuda.set_device(DEVICE)


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    with kept_settings():
        yield
