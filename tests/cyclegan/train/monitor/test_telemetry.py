"""What a run tells survives a kill, and is not told twice."""

import json
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from cyclegan.train.monitor.metrics_log import METRICS, read_lines
from cyclegan.train.monitor.telemetry import Telemetry


def started(folder, first_step: int = 0) -> Telemetry:
    return Telemetry(folder, is_rank_zero=True, first_step=first_step, global_batch=4)


def test_terms_are_means_over_the_interval(tmp_path):
    telemetry = started(tmp_path)
    for value in (1.0, 2.0, 6.0):
        telemetry.add({"loss/cycle_mri": torch.tensor(value)})

    assert telemetry.means()["loss/cycle_mri"] == pytest.approx(3.0)
    telemetry.add({"loss/cycle_mri": torch.tensor(5.0)})
    assert telemetry.means()["loss/cycle_mri"] == pytest.approx(5.0)
    telemetry.close()


def test_lines_after_the_step_that_a_run_goes_on_from_are_dropped(tmp_path):
    first = started(tmp_path)
    for step in (2, 4, 6):
        first.write(step, {"loss/cycle_mri": float(step)})
    first.close()

    started(tmp_path, first_step=4).close()

    assert [line["step"] for line in read_lines(tmp_path / METRICS)] == [2, 4]


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    path = tmp_path / METRICS
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')

    assert read_lines(path) == [{"step": 1}]


def test_other_workers_write_nothing(tmp_path):
    other = Telemetry(tmp_path / "run", is_rank_zero=False, first_step=0, global_batch=4)

    other.write(1, {"loss/cycle_mri": 1.0})

    assert not (tmp_path / "run").exists()


PARTS = {"data_wait": 10, "generators": 30, "discriminators": 20}
"""What a step is made of, in ms."""


def test_parts_of_a_step_add_up_to_it(tmp_path):
    """Sleeping stands for work; what lies between two steps belongs to no part."""
    telemetry, most_ms = started(tmp_path), dict.fromkeys(PARTS, 0.0)
    for _ in range(2):
        before = time.perf_counter()
        telemetry.timer.start()
        for part, least in PARTS.items():
            time.sleep(least / 1000)
            end = time.perf_counter()
            telemetry.timer.lap(part)
            most_ms[part] += 1000 * (time.perf_counter() - before) / 2
            before = end
        telemetry.add({"loss/generators": torch.tensor(1.0)})
        time.sleep(0.02)

    means = telemetry.means()

    parts = [means[f"speed/{part}_ms"] for part in PARTS]
    for part, least, most in zip(parts, PARTS.values(), most_ms.values(), strict=True):
        assert least <= part <= most
    assert sum(parts) + 20 <= means["speed/step_ms"]
    assert means["speed/slices_per_s"] == 2 * means["speed/pairs_per_s"]
    assert means["speed/data_wait_percent"] == pytest.approx(
        100 * parts[0] / means["speed/step_ms"]
    )
    assert 0.05 < means["memory/peak_gib"] < 50
    telemetry.close()


def test_tensorboard_has_the_numbers_of_the_file_and_the_settings_of_the_run(tmp_path):
    telemetry = started(tmp_path)
    compared = {"loss.cycle.weight": 10.0, "data.zoom": (0.9, 1.1)}
    values = compared | {"train.epochs": 60.0}
    telemetry.settings(values, compared, done=False)
    telemetry.write(2, {"val/selection": 0.5, "speed/step_ms": 12.0, "guard/skipped": 1.0})
    telemetry.settings(values, compared, done=True)
    telemetry.close()

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (line,) = read_lines(tmp_path / METRICS)
    # The groups that are looked at first come first where TensorBoard sorts them.
    tags = {"val/selection": "2_val/selection", "speed/step_ms": "3_speed/step_ms"}
    for name, tag in (tags | {"guard/skipped": "guard/skipped"}).items():
        assert [(event.step, event.value) for event in events.Scalars(tag)] == [(2, line[name])]
    (text,) = events.Tensors("settings/text_summary")
    assert b"| train.epochs | 60.0 |" in text.tensor_proto.string_val[0]
    told = events.summary_metadata
    begun = HParamsPluginData.FromString(
        told["_hparams_/session_start_info"].plugin_data.content
    ).session_start_info
    assert begun.hparams["loss.cycle.weight"].number_value == 10.0
    assert begun.hparams["data.zoom"].string_value == "(0.9, 1.1)"
    assert "train.epochs" not in begun.hparams
    ended = HParamsPluginData.FromString(
        told["_hparams_/session_end_info"].plugin_data.content
    ).session_end_info
    assert ended.status == Status.STATUS_SUCCESS
    experiment = HParamsPluginData.FromString(
        told["_hparams_/experiment"].plugin_data.content
    ).experiment
    assert "2_val/selection" in [metric.name.tag for metric in experiment.metric_infos]
