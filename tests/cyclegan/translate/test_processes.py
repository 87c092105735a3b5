"""Several processes share a folder: the results of one process, each once, whichever is killed."""

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cyclegan.export.formats import Format
from cyclegan.export.model_folder import ExportedModel, read_model
from cyclegan.translate import translate
from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.inputs import Input, find_inputs
from cyclegan.translate.stages import TranslationOutcome
from cyclegan.translate.summary import LIST, list_result, mend_list
from cyclegan.translate.translate import (
    died,
    open_job,
    translate_inputs,
    translation_job,
    work,
)
from data_prep.readers.nifti import write_nifti
from data_prep.readers.tolerances import Leniency
from mrct.errors import STORAGE_FULL_ERRNOS, ExitCode, UsageError
from mrct.progress import QUIET_VARIABLE
from mrct.storage.local_path import LocalPath
from tests.conftest import ROOT
from tests.cyclegan.translate.conftest import centred, head
from tests.support.models import INFO
from tests.support.pool_work import open_odd_results
from tests.support.stores import make_store

SHAPE = (12, 44, 36)
AFFINE = centred(np.diag([-5.0, -5.0, 15.0]), SHAPE)


def write_heads(folder: Path, count: int) -> Path:
    """Files of heads that differ, and a copy of the first."""
    folder.mkdir()
    voxels = head("mri", SHAPE, AFFINE).voxels
    for number in range(count):
        write_nifti(folder / f"{number}.nii.gz", voxels * (1 + number / 10), AFFINE)
    shutil.copy(folder / "0.nii.gz", folder / "copy.nii.gz")
    return folder


def results_of(out: Path) -> dict[str, bytes]:
    """Finished ones: a kill may leave the hidden part of one, which a later command removes."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("[!.]*.nii.gz"))}


def listed_in(out: Path) -> list[str]:
    return sorted(json.loads(line)["result"] for line in (out / LIST).read_text().splitlines())


@pytest.mark.slow
def test_a_killed_process_loses_nothing_and_doubles_nothing(tmp_path, model_folder):
    heads, two, one = write_heads(tmp_path / "in", 8), tmp_path / "two", tmp_path / "one"
    arguments = f"-m cyclegan.translate {model_folder} {heads} --out {two} --processes 2"
    with subprocess.Popen(
        [sys.executable, *arguments.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {QUIET_VARIABLE: "1"},
    ) as command:
        while not results_of(two) and command.poll() is None:
            time.sleep(0.02)
        children = psutil.Process(command.pid).children()
        workers = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
        workers[0].send_signal(signal.SIGKILL)
        printed, _ = command.communicate()

    assert command.returncode == ExitCode.DONE
    assert "0 refused" in printed
    assert listed_in(two) == list(results_of(two))
    command = TranslateCommand(model=model_folder, inputs=(heads,), out=one)
    assert translate_inputs(command) == ExitCode.DONE
    assert results_of(two) == results_of(one)
    assert len(results_of(one)) == 8


def test_equal_inputs_have_one_result_and_one_line(tmp_path, model_folder, capsys):
    heads, out = write_heads(tmp_path / "in", 1), tmp_path / "out"
    translate_inputs(TranslateCommand(model=model_folder, inputs=(heads,), out=out))

    assert "1 translated, 1 already there, 0 refused" in capsys.readouterr().out
    assert listed_in(out) == list(results_of(out))


def test_equal_inputs_that_two_processes_write_at_once_are_listed_once(tmp_path, model_folder):
    heads, out = write_heads(tmp_path / "in", 1), tmp_path / "out"
    command = TranslateCommand(model=model_folder, inputs=(heads,), out=out)
    found = find_inputs((heads,), out, "mri", "test", INFO.preprocessing, Leniency()).inputs
    out.mkdir()
    (tmp_path / "locks").mkdir()
    both = threading.Barrier(2)

    def meet(said: str) -> None:
        if said == f"slice {SHAPE[0]} of {SHAPE[0]}":
            both.wait(60)

    def translate_one(item: Input) -> TranslationOutcome:
        labels = Counter(item.label for item in found)
        job = translation_job(command, open_job(command), labels, meet)
        (outcome,) = work(job, [item], LocalPath(tmp_path / "locks"))
        return outcome

    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(translate_one, found))

    assert sorted(outcome.is_new for outcome in outcomes) == [False, True]
    assert listed_in(out) == list(results_of(out))


def test_the_first_of_several_processes_leaves_the_device_to_them(
    tmp_path, model_folder, monkeypatch
):
    """And an error in it ends them, whoever keeps the error."""
    heads, out = write_heads(tmp_path / "in", 1), tmp_path / "out"
    command = TranslateCommand(model=model_folder, inputs=(heads,), out=out, processes=2)
    opened: list[str] = []

    def read(folder: Path, form: Format, device: str) -> ExportedModel:
        opened.append(device)
        return read_model(folder, form, "cpu")

    monkeypatch.setattr(translate, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(translate, "read_model", read)
    monkeypatch.setattr(translate, "open_work", open_odd_results)
    with pytest.raises(AttributeError, match="refusal") as kept:
        translate_inputs(command)

    assert active_children() == []
    assert opened == ["cpu"]
    assert kept.tb is not None


def test_a_volume_of_a_store_reaches_another_process(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=2, ct=1, splits=("test",))
    found = find_inputs(
        (tmp_path / "s.zarr",), tmp_path, "mri", "test", store.preprocessing, Leniency()
    )

    for item in found.inputs:
        copy = pickle.loads(pickle.dumps(item))
        assert (copy.label, copy.number, copy.path) == (item.label, item.number, item.path)
        np.testing.assert_array_equal(copy.preprocessed().voxels, item.preprocessed().voxels)


def test_an_input_that_processes_died_of_is_refused_by_name(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1, splits=("test",))
    (item,) = find_inputs(
        (tmp_path / "s.zarr",), tmp_path, "mri", "test", store.preprocessing, Leniency()
    ).inputs

    refusal = died("mri", item).refusal
    assert refusal is not None
    assert (refusal.number, refusal.code) == (1, "process-died")
    assert "without --processes" in refusal.remedy


def test_an_incomplete_line_of_the_list_is_dropped(tmp_path):
    (tmp_path / LIST).write_text('{"input": 1}\n{"inp')
    mend_list(tmp_path)
    assert (tmp_path / LIST).read_text() == '{"input": 1}\n'


def test_a_line_that_is_not_written_whole_is_a_full_disk(tmp_path):
    heads, out = write_heads(tmp_path / "in", 1), tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (item, *_) = find_inputs((heads,), out, "mri", "test", INFO.preprocessing, Leniency()).inputs
    outcome = TranslationOutcome(input=item, sha256="0" * 64, result=out / "r.nii.gz", is_new=True)
    out.mkdir()

    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="No space left") as full:
            list_result(outcome, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert full.value.errno in STORAGE_FULL_ERRNOS
    assert (out / LIST).stat().st_size == 20


def test_fewer_than_one_process_is_wrong_use(model_folder, tmp_path):
    with pytest.raises(UsageError, match="--processes is 0"):
        TranslateCommand(model=model_folder, inputs=(tmp_path,), processes=0)
