"""Every preset's whole step on fake tensors of a GPU: one device, no value read, right dtypes."""

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
)

from cyclegan.config.presets import PRESETS
from cyclegan.nets.discriminator import SpectralNorm
from cyclegan.train.distributed import Worker
from cyclegan.train.engine import objective
from cyclegan.train.engine.diagnostics import MEASURE_EVERY_STEPS
from tests.gpu_dry.stub_run import (
    DEVICE,
    DTYPES,
    OnDevice,
    eager,
    fake_tensors,
    stub_run,
    tensors_of,
)

QUICK = {("default", "bf16"), ("smoke", "fp16")}
RUNS = [
    pytest.param(name, precision, marks=[] if (name, precision) in QUICK else pytest.mark.slow)
    for name in PRESETS
    for precision in DTYPES
]
FP32 = {torch.float32}


@pytest.fixture
def inside(monkeypatch):
    """The operators in each loss and in spectral norm, with their floating data types."""
    found = {}

    def watch(owner, name, label):
        function = getattr(owner, name)

        def watched(*args):
            with OnDevice() as operators:
                value = function(*args)
            for operator, dtypes in operators.dtypes.items():
                found.setdefault(label, {}).setdefault(operator, set()).update(dtypes)
            return value

        monkeypatch.setattr(owner, name, watched)

    for name in [name for name in vars(objective) if name.endswith("_loss")]:
        watch(objective, name, name)
    watch(SpectralNorm, "forward", "spectral norm")
    return found


@pytest.mark.parametrize(("name", "precision"), RUNS)
def test_a_step_stays_on_its_device_and_never_waits(name, precision, inside):
    run = stub_run(eager(name, precision), Worker(device=DEVICE))

    with fake_tensors() as guard:
        with_signs = run.step()
        without = run.step()

    assert MEASURE_EVERY_STEPS > 1
    assert set(with_signs) - set(without) >= {"watch/edges", "watch/layers"}
    assert {term.dtype for term in with_signs.values()} == FP32
    convolutions = guard.dtypes["convolution"] | guard.dtypes["convolution_backward"]
    assert DTYPES[precision] in convolutions
    assert convolutions <= {DTYPES[precision], torch.float32}
    if precision == "fp32":
        assert set().union(*guard.dtypes.values()) == FP32
    assert {of: set().union(*dtypes.values()) for of, dtypes in inside.items()} == dict.fromkeys(
        inside, FP32
    )
    assert {"adversarial_loss", "round_trip_loss", "discriminator_loss"} <= set(inside)
    # cuDNN would compute a convolution in TF32.
    assert "convolution" not in inside.get("structural_loss", {})
    assert ("structural_loss" in inside) == bool(run.config.loss.ssim.effective_weight)
    assert ("mv" in inside.get("spectral norm", {})) == run.config.discriminator.spectral
    optimizers = (run.state.generator_optimizer, run.state.discriminator_optimizer)
    moments = [x for each in optimizers for x in tensors_of(list(each.state.values()))]
    groups = [group for each in optimizers for group in each.param_groups]
    assert len(moments) == 3 * sum(len(group["params"]) for group in groups)
    assert {(x.device, x.dtype) for x in moments} == {(DEVICE, torch.float32)}
    assert torch.cuda.memory_allocated(0) == 0


WRONG = {
    "value": (lambda x: x.sum().item(), DataDependentOutputException, "local_scalar_dense"),
    "size": (lambda x: x[x > 0], DynamicOutputShapeException, "nonzero"),
    "host": (lambda x: x + torch.zeros(3), FakeTensorDeviceMismatchError, "cuda:1 and cpu"),
    "to the host": (lambda x: x.cpu(), AssertionError, "yields one on cpu"),
    "to another": (lambda x: x.to("cuda:0"), AssertionError, "yields one on cuda:0"),
    "another": (lambda x: torch.zeros(3, device="cuda:0"), AssertionError, "yields one on cuda:0"),
    "blocking": (lambda x: x * torch.zeros(3).to(x.device), AssertionError, "makes the host wait"),
    "blocking too": (lambda x: torch.zeros(3).cuda(), AssertionError, "makes the host wait"),
}


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_reads_a_value_waits_or_is_elsewhere_is_found(wrong, error, message):
    with fake_tensors():
        tensor = torch.zeros(3, device=DEVICE)
        with pytest.raises(error, match=message):
            wrong(tensor)
