"""The first run on a GPU, on machines that have none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu import page
from benchmarks.on_gpu.bench import SMALL, Bench
from benchmarks.on_gpu.usual import UsualStep
from tests.gpu.conftest import ABSENT

DOCS = Path(__file__).resolve().parents[2] / "docs/gpu.md"


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert gpu.main([]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "no CUDA device: nothing was measured. --small tries the script on the CPU."
    ]


def test_a_check_without_time_is_skipped(capsys):
    assert gpu.main(["--small", "--budget", "0"]) == 0

    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SKIP")]
    assert len(skipped) == len(gpu.checks_of("default"))


@pytest.mark.parametrize("name", ["eager, channels_last", "checkpoint", "volume", "norms"])
def test_checks_run_on_a_cpu_too(name: str):
    found: dict[str, Any] = {}

    assert gpu.run_one_check(name, gpu.checks_of("default")[name][1], SMALL, found)
    if name == "eager, channels_last":
        assert found[name]["pairs_per_s"] > 0
        assert 0 <= found[name]["data_wait_percent"] < 100


def test_the_usual_step_is_ours_in_its_losses():
    config = SMALL.config(compile="no", precision="fp32", channels_last="no", pool_size=0)
    usual = UsualStep(SMALL.stepper(config), torch.float32, compiled=False)
    ours = SMALL.stepper(config)
    for _ in range(2):  # the second after updates of both
        expected, found = usual.step(), ours.step()

    assert expected.keys() <= found.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found[name], term.detach(), rtol=1e-3, atol=1e-4, msg=name)


def test_a_check_that_fails_is_a_line_and_the_exit_code(monkeypatch, tmp_path: Path, capsys):
    def broken(bench: Bench) -> Any:
        raise RuntimeError("out of order\nand more")

    monkeypatch.setattr(gpu, "checks_of", lambda preset: {"broken": (0, broken)})

    assert gpu.main(["--small", "--json", str(tmp_path / "gpu.json")]) == 1
    assert "FAIL broken" in capsys.readouterr().out
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["broken"] == "RuntimeError: out of order"
    assert written["machine"]["torch"] == torch.__version__


def test_the_ratio_is_that_of_the_faster_layout_to_the_usual_step():
    speeds = {
        "compiled, channels_last": 250.0,
        "compiled, NCHW": 300.0,
        "usual, compiled": 100.0,
        "eager, NCHW": 50.0,
    }
    found: dict[str, Any] = {name: {"pairs_per_s": speed} for name, speed in speeds.items()}

    found["usual, eager"] = "out of memory"
    assert gpu.ratios(found) == {"compiled: ours over the usual step": 3}
    assert gpu.faster_layouts(found) == {"all": "no"}  # eager ran in one layout alone


def test_figures_replace_those_between_the_marks_of_the_page(tmp_path: Path):
    copy = tmp_path / "gpu.md"
    copy.write_text(DOCS.read_text())
    step = {"pairs": 8, "pairs_per_s": 240.4, "launches": 1300, "mfu_percent": 51.6}
    found = {
        "machine": gpu.machine(SMALL, "default"),
        "compiled, NCHW": step | {"data_wait_percent": "ModuleNotFoundError: no DALI"},
        "usual, compiled": "RuntimeError",
    }

    for _ in range(2):
        page.write_page(copy, found, {"compiled: ours over the usual step": 1.6})

    begin, end = page.BEGIN, page.END
    was, now = DOCS.read_text(), copy.read_text()
    assert now.count(begin) == now.count(end) == was.count(begin) == was.count(end) == 1
    assert now.partition(begin)[0] == was.partition(begin)[0]
    assert now.partition(end)[2] == was.partition(end)[2]
    assert "\n| compiled, NCHW | 8 | 240 | 52 | 1300 |  |  |  |\n" in now
    assert "- compiled: ours over the usual step: 1.60\n" in now


def test_here_no_gpu_test_is_left_out_for_a_library():
    assert not any(ABSENT.values())
