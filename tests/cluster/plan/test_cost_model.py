"""The model of speed agrees with closed forms, with torch's own count, and with itself."""

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.pages import block_of
from benchmarks.scale import BLOCK, PAGE, scale_table
from cluster.__main__ import main
from cluster.plan import scaling_plan
from cluster.plan.cost_model import (
    BUCKET_BYTES,
    COPY_BYTES_PER_S,
    FIRST_BUCKET_BYTES,
    BackwardPass,
    Cluster,
    EpochOverhead,
    Every,
    Links,
    StepCost,
    all_reduce_s,
    forecast_speed,
)
from cluster.plan.flops import compute_cost_of
from cluster.plan.launches import launches_per_part
from cluster.plan.run_costs import SCORING_S_PER_VOXEL, validation_s_of
from cluster.plan.scaling_plan import Assumptions, measured_pair_s, scaling_points
from cyclegan.config.config import Config
from cyclegan.config.presets import default, reference
from cyclegan.errors import ConfigError
from cyclegan.train.batch_size import USEFUL_PAIRS
from cyclegan.train.checkpoint.run_record import record_environment
from data_prep.store.store import Store
from mrct.errors import ExitCode, UsageError
from mrct.storage.local_path import LocalPath
from tests.support.stores import make_store

COUNTED = cache(compute_cost_of)
LINKS = Links(node_bytes_per_s=400e9, network_bytes_per_s=40e9, latency_s=0.0)
SITE = Cluster(
    gpus=1,
    gpus_per_node=8,
    links=LINKS,
    cores_per_gpu=1.0,
    store_bytes_per_s=1e10,
    write_bytes_per_s=1e9,
)
GRADIENT_BYTES = 100_000_000
BACKWARD = BackwardPass(gradient_bytes=GRADIENT_BYTES, share=0.6, incomplete=1 / 3)
STEP = StepCost(pairs=2, compute_s=0.01, backward=(BACKWARD,), pair_bytes=100_000, data_cpu_s=7e-4)
RHYTHM = EpochOverhead(
    steps=1000,
    checkpoint_bytes=500_000_000,
    checkpoint_every=Every(steps=100),
    validation_s=2.0,
    validation_every=Every(steps=500),
)


@pytest.fixture(autouse=True)
def counted_once(monkeypatch):
    """Counting the default networks takes seconds, and all plans here are for them."""
    monkeypatch.setattr(scaling_plan, "compute_cost_of", COUNTED)


def slices_of_256(folder: Path) -> Store:
    """A store of the size that is counted already."""
    shape = (4, 256, 256)
    return make_store(folder / "s.zarr", mri=2, ct=2, shape=shape, splits=("train", "val"))


def with_shards(shards: int, **train: object) -> Config:
    base = default()
    return replace(
        base, batch=replace(base.batch, shards=shards), train=replace(base.train, **train)
    )


@pytest.mark.parametrize(("config", "tflop"), [(reference(), 1.852), (default(), 2.147)])
def test_the_arithmetic_of_a_pair_is_what_was_counted_of_a_real_step(config: Config, tflop: float):
    work = COUNTED(config, (256, 256))

    assert work.flop_per_pair / 1e12 == pytest.approx(tflop, rel=0.01)
    assert work.generator_bytes == pytest.approx(2 * 4 * 11.37e6, rel=0.05)


def test_two_workers_send_half_of_the_gradient_each_way():
    assert all_reduce_s(1e9, 2, 1e9, 0.0) == pytest.approx(1.0)
    assert all_reduce_s(1e9, 1, 1e9, 1.0) == 0


def test_with_many_workers_and_small_messages_a_tree_is_better_than_a_ring():
    small, workers = 1000.0, 1024

    assert all_reduce_s(small, workers, 1e9, 1e-5) == pytest.approx(2e-6 + 20 * 1e-5)


def test_one_gpu_is_as_fast_as_it_computes():
    seen = forecast_speed(STEP, SITE, RHYTHM)

    assert seen.pairs_per_s == pytest.approx(200)
    assert seen.bound == "compute"
    assert seen.store_bytes_per_s == pytest.approx(200 * 100_000)
    assert seen.cores == pytest.approx(200 * 7e-4)


def test_an_epoch_is_its_steps_checkpoints_and_validations():
    assert forecast_speed(STEP, SITE, RHYTHM).epoch_s == pytest.approx(
        1000 * 0.01 + 10 * 500e6 / COPY_BYTES_PER_S + 2 * 2.0
    )


def test_the_share_of_training_is_what_validating_and_saving_leave():
    seen = forecast_speed(STEP, SITE, RHYTHM)

    assert seen.training_share == pytest.approx(10 / (10 + 10 * 500e6 / COPY_BYTES_PER_S + 4))


def test_checkpoints_are_written_beside_the_training_unless_they_take_longer():
    slow = replace(SITE, write_bytes_per_s=0.25e9)  # 10 x 2 s to write in 10 s of training

    seen = forecast_speed(STEP, slow, replace(RHYTHM, validation_every=Every()))

    assert seen.epoch_s == pytest.approx(20)


def test_events_by_time_are_as_many_as_the_steps_give_them_time_for():
    assert Every(seconds=5).count(1000, 0.01) == pytest.approx(2)
    assert Every(steps=100, seconds=5).count(1000, 0.01) == pytest.approx(10)
    assert Every().count(1000, 0.01) == 0


def test_buckets_are_those_of_ddp():
    sizes = BACKWARD.buckets()

    assert sizes[:2] == [FIRST_BUCKET_BYTES, BUCKET_BYTES]
    assert sum(sizes) == GRADIENT_BYTES
    assert replace(BACKWARD, gradient_bytes=1000).buckets() == [1000]


def test_gradients_are_complete_evenly_once_the_first_is():
    assert BACKWARD.done_at(GRADIENT_BYTES // 2) == pytest.approx(1 / 3 + 2 / 3 / 2)
    late = replace(BACKWARD, late_bytes=GRADIENT_BYTES // 4)
    assert late.done_at(GRADIENT_BYTES // 2) == pytest.approx(1 / 3 + 2 / 3 * 0.75)
    assert late.done_at(GRADIENT_BYTES) == 1


def test_the_last_bucket_is_always_waited_for_and_the_rest_only_where_it_is_slow():
    eight = replace(SITE, gpus=8)
    last = 2 * 7 / 8 * BACKWARD.buckets()[-1] / 400e9
    assert forecast_speed(STEP, eight, RHYTHM).exposed_s == pytest.approx(last)

    slow = replace(eight, links=replace(LINKS, node_bytes_per_s=1e9))
    whole = 2 * 7 / 8 * 0.1
    first_ready_s = 0.6 * 0.01 * BACKWARD.done_at(FIRST_BUCKET_BYTES)
    assert forecast_speed(STEP, slow, RHYTHM).exposed_s == pytest.approx(
        whole - (0.6 * 0.01 - first_ready_s)
    )


def test_where_the_same_processors_compute_and_send_all_of_it_is_waited_for():
    alone = replace(STEP, backward=(replace(BACKWARD, share=0.0),))

    seen = forecast_speed(alone, replace(SITE, gpus=8), RHYTHM)

    assert seen.exposed_s == pytest.approx(seen.all_reduce_s)
    assert seen.step_s == pytest.approx(0.01 + seen.all_reduce_s)


def test_each_backward_pass_waits_for_its_own_gradients():
    twice = replace(STEP, backward=(BACKWARD, BACKWARD))
    eight = replace(SITE, gpus=8)

    once_s = forecast_speed(STEP, eight, RHYTHM).exposed_s
    assert forecast_speed(twice, eight, RHYTHM).exposed_s == pytest.approx(2 * once_s)


def test_a_step_cannot_be_faster_than_the_host_launches_it():
    launched = replace(STEP, launch_s=0.013)

    two = forecast_speed(launched, SITE, RHYTHM)
    eight = forecast_speed(replace(launched, pairs=8, compute_s=0.04), SITE, RHYTHM)

    assert (two.step_s, two.bound) == (pytest.approx(0.013), "launches")
    assert (eight.step_s, eight.bound) == (pytest.approx(0.04), "compute")


def test_a_step_cannot_be_faster_than_its_data():
    assert forecast_speed(replace(STEP, data_cpu_s=0.01), SITE, RHYTHM).bound == "data"
    crowd = replace(SITE, gpus=1000, store_bytes_per_s=1e9)
    assert forecast_speed(STEP, crowd, RHYTHM).pairs_per_s == pytest.approx(1e9 / 100_000)


def test_where_data_is_made_by_the_computing_cores_it_comes_on_top():
    seen = forecast_speed(replace(STEP, data_beside=False), SITE, RHYTHM)

    assert seen.step_s == pytest.approx(0.01 + 2 * 7e-4)


def test_efficiency_never_rises_with_gpus():
    rates = [
        forecast_speed(STEP, replace(SITE, gpus=n), RHYTHM).pairs_per_s / n for n in range(1, 200)
    ]

    assert all(later <= earlier * 1.0001 for earlier, later in pairwise(rates[7::8]))


def test_the_command_prints_a_plan_for_people_and_for_programs(tmp_path, capsys):
    store = slices_of_256(tmp_path)
    arguments = ["plan", "--gpus", "64", "--store", str(store.path)]
    arguments += ["--price", "2", "--preset", "reference"]

    assert main(arguments) == ExitCode.DONE

    shown = capsys.readouterr().out
    assert "Scaling efficiency" in shown
    assert "Cost of the run" in shown
    assert main([*arguments, "--json"]) == ExitCode.DONE
    kept = json.loads(capsys.readouterr().out)["prospects"]
    assert [each["forecast"]["gpus"] for each in kept] == [1, 8, 64]
    assert kept[-1]["global_batch"] == 64
    alone, many = kept[0]["forecast"], kept[-1]["forecast"]
    assert kept[-1]["efficiency"] == pytest.approx(many["pairs_per_s"] / 64 / alone["pairs_per_s"])
    assert kept[-1]["cost"] == pytest.approx(2 * 64 * kept[-1]["epochs"] * many["epoch_s"] / 3600)


def test_workers_that_wait_for_the_busiest_make_no_pairs_meanwhile(tmp_path):
    """Four shards on three GPUs: one of them runs two, and the others wait."""
    store = slices_of_256(tmp_path)

    even, odd = scaling_points(default(), store, [2, 3], Assumptions())

    assert odd.forecast.step_s == pytest.approx(even.forecast.step_s, rel=0.1)
    assert odd.global_batch == even.global_batch
    assert odd.forecast.pairs_per_s == pytest.approx(odd.global_batch / odd.forecast.step_s)
    assert odd.efficiency < 0.75 * even.efficiency


def test_a_small_batch_takes_as_long_as_its_launches(tmp_path):
    store = slices_of_256(tmp_path)
    assumed = Assumptions(launch_us=50.0)

    (one,) = scaling_points(with_shards(1), store, [1], assumed)
    (eager,) = scaling_points(with_shards(1, compile="no"), store, [1], assumed)

    assert one.forecast.launch_s == pytest.approx(50e-6 * launches_per_part(default()))
    assert one.forecast.step_s == one.forecast.launch_s
    assert eager.forecast.launch_s > one.forecast.launch_s
    (measured,) = scaling_points(with_shards(1), store, [1], Assumptions(step_ms=5.0))
    assert measured.forecast.step_s == pytest.approx(5e-3)


def test_parts_of_a_step_are_launched_one_by_one_and_the_last_sends(tmp_path):
    store = slices_of_256(tmp_path)
    config = with_shards(8)
    parts = replace(config, scale=replace(config.scale, accumulate=True))

    (whole,) = scaling_points(config, store, [2], Assumptions())
    (split,) = scaling_points(parts, store, [2], Assumptions())

    assert split.forecast.launch_s == pytest.approx(4 * whole.forecast.launch_s)
    assert split.forecast.exposed_s >= whole.forecast.exposed_s


def test_the_batch_may_be_what_the_gpus_memory_allows(tmp_path):
    assumed = Assumptions(batch="auto", gpu="t4")

    (found,) = scaling_points(default(), slices_of_256(tmp_path), [8], assumed)

    assert 8 < found.global_batch < 8 * USEFUL_PAIRS  # 16 GB hold more than one pair, and not 8


def test_scoring_beside_the_training_leaves_validation_the_networks(tmp_path):
    store = slices_of_256(tmp_path)
    work = COUNTED(default(), store.size)
    depth = 4

    inline, beside = (
        validation_s_of(default(), store, Assumptions(scoring=place), work)
        for place in ("inline", "beside")
    )

    networks_s = 2 * 2 * depth * work.flop_per_translation / (989e12 * 0.4)  # a cycle of each
    assert beside == pytest.approx(networks_s)
    scored_s = sum(SCORING_S_PER_VOXEL.values()) * depth * 256 * 256
    assert inline == pytest.approx(networks_s + scored_s)
    two = replace(default(), scale=replace(default().scale, workers=2))
    waiting = Assumptions(scoring="inline")
    assert validation_s_of(two, store, waiting, work) < inline  # a volume for each


def test_the_page_has_the_table_of_the_model():
    found = scale_table(COUNTED(default(), (256, 256)))

    assert found == block_of(PAGE, BLOCK), "python -m benchmarks.scale --write"


def test_a_plan_takes_the_speed_of_a_run(tmp_path, capsys):
    store = slices_of_256(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    line = {"step": 1, "speed/step_ms": 100, "speed/pairs_per_s": 20, "speed/data_wait_percent": 10}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match="not a run of one worker"):
        measured_pair_s(run)
    record_environment(LocalPath(run), store, workers=1)
    assert measured_pair_s(run) == pytest.approx(0.9 / 20)

    arguments = ["plan", "--gpus", "1", "--store", str(store.path), "--measured", str(run)]
    assert main(arguments) == ExitCode.DONE
    assert "45.00 ms per pair" in capsys.readouterr().out


def test_a_plan_without_a_store_is_wrong_use(monkeypatch):
    monkeypatch.delenv("CYCLEGAN_STORE", raising=False)
    with pytest.raises(UsageError, match="--store"):
        main(["plan", "--gpus", "8"])
