"""The first run on a GPU, on machines that have none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu.bench import Bench


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert gpu.main([]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "no CUDA device: nothing was measured. --small tries the script on the CPU."
    ]


def test_a_check_without_time_is_skipped(capsys):
    assert gpu.main(["--small", "--budget", "0"]) == 0

    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SKIP")]
    assert len(skipped) == len(gpu.CHECKS) - 1


@pytest.mark.parametrize("name", ["deterministic", "checkpoint", "norms"])
def test_checks_run_on_a_cpu_too(name: str):
    assert gpu.run_one_check(name, gpu.CHECKS[name][1], Bench(small=True), {})


def test_a_check_that_fails_is_a_line_and_the_exit_code(monkeypatch, tmp_path: Path, capsys):
    def broken(bench: Bench) -> Any:
        raise RuntimeError("out of order\nand more")

    monkeypatch.setattr(gpu, "CHECKS", {"a CUDA graph of the eager step": (0, broken)})
    monkeypatch.setitem(gpu.CHECKS, "broken", (0, broken))

    assert gpu.main(["--small", "--json", str(tmp_path / "gpu.json")]) == 1
    assert "FAIL broken" in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu.json").read_text()) == {
        "broken": "RuntimeError: out of order"
    }
