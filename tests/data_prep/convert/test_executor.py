"""A task that dies costs its own volume at most, and the others none (I22)."""

import os
from functools import partial

import pytest

from data_prep.convert.conversion_plan import ConversionJob
from data_prep.convert.executor import run_jobs
from data_prep.convert.worker import convert_job
from data_prep.preprocess.spec import PreprocessingSpec
from data_prep.sources.source import Source
from data_prep.store.writer import create_store
from mrct.imaging.hounsfield import WINDOW_HU
from tests.support.hostile import Deadly
from tests.support.volumes import write_head

COMMON = {"modality": "mri", "subject": "s", "split": None, "pair": None}


@pytest.mark.ray
def test_a_task_that_dies_runs_once_more_alone_and_the_others_finish(tmp_path):
    store, spec = (
        tmp_path / "s.zarr",
        PreprocessingSpec(spacing_mm=(6.0, 4.0, 4.0), size=(56, 48)),
    )
    create_store(
        store,
        spacing_mm=spec.spacing_mm,
        size=spec.size,
        settings={"window_hu": WINDOW_HU},
    )
    path, diary = write_head(tmp_path / "a.nii.gz", "mri"), tmp_path / "diary"
    deadly = {"path": path, "diary": diary, **COMMON}
    always, once = "a" * 16, "b" * 16
    sources = [
        Deadly(pseudonym=always, deaths=99, **deadly),
        Deadly(pseudonym=once, deaths=1, **deadly),
        *(Deadly(pseudonym=f"{number:016x}", deaths=0, **deadly) for number in range(5)),
    ]
    jobs = [ConversionJob(sources=(source,), split="train") for source in sources]

    outcomes = list(run_jobs(jobs, partial(convert_job, out=store, spec=spec), workers=2))

    written = {outcome.source.pseudonym for outcome in outcomes if outcome.written}
    assert written == {source.pseudonym for source in sources[1:]}
    (refusal,) = [outcome.refusal for outcome in outcomes if outcome.refusal]
    assert (refusal.code, refusal.name) == ("task-died", f"mri/{always}")
    # Both were tried again after all others had been read, one after the other.
    assert sorted(diary.read_text().split()[-2:]) == [always, once]
    assert len(diary.read_text().split()) == len(sources) + 2


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    conversion = partial(convert_job, out=tmp_path / "s.zarr", spec=PreprocessingSpec())
    source = Source(path=write_head(tmp_path / "a.nii", "mri"), pseudonym="0" * 16, **COMMON)
    read = Source.read

    def read_while_it_grows(self, note):
        volume = read(self, note)
        self.path.write_bytes(self.path.read_bytes() + b"\0")
        return volume

    monkeypatch.setattr(Source, "read", read_while_it_grows)
    (outcome,) = run_jobs([ConversionJob(sources=(source,), split="train")], conversion, workers=0)

    assert outcome.refusal.code == "file-changed"


@pytest.mark.parametrize("fault", ["absent", "loop", "pipe", "folder"])
def test_what_is_no_readable_file_is_refused_and_named(tmp_path, fault):
    path = tmp_path / "a.nii"
    if fault == "loop":
        path.symlink_to(path)
    elif fault == "pipe":
        os.mkfifo(path)
    elif fault == "folder":
        path.mkdir()
    conversion = partial(convert_job, out=tmp_path / "s.zarr", spec=PreprocessingSpec())
    source = Source(path=path, pseudonym="0" * 16, **COMMON)

    (outcome,) = run_jobs([ConversionJob(sources=(source,), split="train")], conversion, workers=0)

    assert outcome.refusal.code == "unreadable"
    assert str(tmp_path) not in outcome.refusal.reason + outcome.refusal.remedy
