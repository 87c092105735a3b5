"""What a run tells survives a kill, and is not told twice."""

import json

import pytest
import torch

from cyclegan.train.telemetry import METRICS, Telemetry, read_lines


def started(folder, first_step: int = 0) -> Telemetry:
    return Telemetry(folder, leads=True, first_step=first_step, global_batch=4)


def test_terms_are_means_over_the_interval(tmp_path):
    telemetry = started(tmp_path)
    for value in (1.0, 2.0, 6.0):
        telemetry.add({"loss/cycle_mri": torch.tensor(value)}, wait_s=0.0)

    assert telemetry.means()["loss/cycle_mri"] == pytest.approx(3.0)
    telemetry.add({"loss/cycle_mri": torch.tensor(5.0)}, wait_s=0.0)
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
    other = Telemetry(tmp_path / "run", leads=False, first_step=0, global_batch=4)

    other.write(1, {"loss/cycle_mri": 1.0})

    assert not (tmp_path / "run").exists()
