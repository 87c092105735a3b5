"""The CUDA build installs as pinned, imports everything, and sees two devices in the stubs."""

import pkgutil
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.gpu_dry.stub_run import DEVICE

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mrct", "data_prep", "cyclegan", "tune", "cluster")


def test_every_package_has_the_version_that_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): pin.specifier for pin in pins}
    installed = {canonicalize_name(each.name): each.version for each in distributions()}
    for name in ("pip", "cyclegan-mri-ct"):
        installed.pop(name)

    assert {name for name in installed if name.startswith("nvidia-")} >= {"nvidia-cudnn-cu13"}
    assert torch.version.cuda == "13.0"
    assert installed.keys() - pinned.keys() == set()
    assert {n: v for n, v in installed.items() if not pinned[n].contains(v)} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported(package):
    root = import_module(package)

    names = [found.name for found in pkgutil.walk_packages(root.__path__, f"{package}.")]

    assert len(names) > 5
    for name in names:
        import_module(name)


def test_torch_sees_two_devices_that_keep_what_is_copied_to_them():
    numbers = torch.arange(6.0)

    assert torch.cuda.device_count() == 2
    assert torch.cuda.get_device_capability(DEVICE) == (9, 0)
    assert torch.cuda.is_bf16_supported(including_emulation=False)
    assert torch.equal(numbers.to(DEVICE).cpu(), numbers)
    assert torch.cuda.memory_allocated(0) == 0
