"""DDP sends the gradients of a backward pass when the model says, as its own hooks measure."""

from dataclasses import replace

import pytest

from cluster.plan.cost_model import BUCKET_BYTES, FIRST_BUCKET_BYTES, BackwardPass
from cluster.plan.run_costs import BACK_TRANSLATIONS
from cyclegan.config.config import Config
from cyclegan.config.files import to_yaml
from cyclegan.config.presets import default
from tests.support.compiling import COMPILER_MARKS
from tests.support.gloo import run_workers

pytestmark = pytest.mark.slow
THINNER = 8
"""Factor by which these networks are thinner than those of `default`; weights and buckets are by
its square."""
MEASURE = """
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import distributed
from torch.utils.flop_counter import FlopCounterMode
from cyclegan.train.distributed import wrap_in_ddp
from cyclegan.train.engine.state import build_discriminators, build_generators
dist._DEFAULT_FIRST_BUCKET_BYTES = {first}
distributed._DEFAULT_BUCKET_CAP_MB = {usual} / 2**20
config, worker = config, meet(2)
torch.manual_seed(1)
is_generators = {network!r} == "generators"
network = (build_generators if is_generators else build_discriminators)(config)
if {backend!r}:
    network.compile(dynamic=False, backend={backend!r})
placed, flop, buckets = wrap_in_ddp(network), FlopCounterMode(display=False), []

def record(state, bucket):
    buckets.append((4 * bucket.buffer().numel(), flop.get_total_flops()))
    return allreduce_hook(None, bucket)

placed.register_comm_hook(None, record)
channels = config.data.channels + config.data.num_conditions
image = torch.rand(1, channels, 32, 32)
for _ in range(3):  # DDP rebuilds its buckets after the first pass
    made = [each for each in placed(image, image) if each is not None]
    total = torch.stack([each.sum() for each in made]).sum()
    buckets.clear()
    with flop:
        total.backward()
if rank == 0:
    for size, complete in buckets:
        print("bucket", size, complete / flop.get_total_flops(), file=sys.stderr)
"""


def thin() -> Config:
    """The default, of which the width is all that differs."""
    base = default()
    return replace(
        base,
        generator=replace(base.generator, filters=base.generator.filters // THINNER),
        discriminator=replace(base.discriminator, filters=base.discriminator.filters // THINNER),
    )


def measured_buckets(tmp_path, network: str, backend: str) -> list[tuple[int, float]]:
    """Bytes of each bucket, and the share of the pass's convolutions that were done before it."""
    path = tmp_path / "thin.yaml"
    path.write_text(to_yaml(thin()))
    body = MEASURE.format(
        network=network,
        backend=backend,
        first=FIRST_BUCKET_BYTES // THINNER**2,
        usual=BUCKET_BYTES / THINNER**2,
    )
    lines = [line.split() for line in run_workers(body, path, 2)[0].splitlines()]
    return [(int(line[1]), float(line[2])) for line in lines if line[0] == "bucket"]


def check(found: list[tuple[int, float]], incomplete: float, late_bytes: int) -> None:
    """Compare with the model, which knows no layers: a large one fills a bucket at once."""
    modelled = BackwardPass(
        gradient_bytes=sum(size for size, _ in found),
        share=1.0,
        incomplete=incomplete,
        late_bytes=late_bytes,
    )
    complete_bytes = 0
    for size, done in found:
        complete_bytes += size
        assert modelled.done_at(complete_bytes) == pytest.approx(done, abs=0.15), found


def test_generators_complete_no_gradient_before_the_translations_back(tmp_path):
    found = measured_buckets(tmp_path, "generators", "")

    assert len(found) >= 4
    check(found, BACK_TRANSLATIONS, 0)


def test_discriminators_complete_gradients_from_the_start(tmp_path):
    found = measured_buckets(tmp_path, "discriminators", "")

    assert len(found) == 2
    check(found, 0.0, 0)


@pytest.mark.compile
@COMPILER_MARKS[0]
@COMPILER_MARKS[2]
def test_compiled_gradients_come_a_bucket_later(tmp_path):
    found = measured_buckets(tmp_path, "generators", "aot_eager")

    assert len(found) >= 4
    check(found, BACK_TRANSLATIONS, BUCKET_BYTES // THINNER**2)
