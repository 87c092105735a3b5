"""Many files go in; each comes out whole on its own grid, or is listed, and none stops another."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from cyclegan.errors import NoModelError
from cyclegan.translate.command import TranslateCommand
from cyclegan.translate.summary import LIST
from cyclegan.translate.translate import translate_inputs
from data_prep.readers.nifti import read_nifti, write_nifti
from mrct.errors import ExitCode, UsageError
from mrct.progress import QUIET_VARIABLE
from tests.conftest import ROOT
from tests.cyclegan.translate.conftest import centred, head

SHAPE = (12, 44, 36)
AFFINE = centred(np.diag([-5.0, -5.0, 15.0]), SHAPE)


def write_head(path: Path, modality: str = "mri") -> Path:
    path.parent.mkdir(exist_ok=True)
    write_nifti(path, head(modality, SHAPE, AFFINE).voxels, AFFINE)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_folder_is_translated_file_by_file_onto_the_grids_of_the_inputs(
    tmp_path, out, model_folder
):
    for name in ("a.nii.gz", "b.nii"):
        write_head(tmp_path / "in" / name)

    assert (
        translate_inputs(
            TranslateCommand(
                model=model_folder, inputs=(tmp_path / "in",), out=out, keep_names=True
            )
        )
        == ExitCode.DONE
    )

    assert sorted(path.name for path in out.iterdir()) == [
        "a_synthetic-ct.nii.gz",
        "b_synthetic-ct.nii.gz",
        "translations.jsonl",
    ]
    result, source = (
        nibabel.load(out / "b_synthetic-ct.nii.gz"),
        nibabel.load(tmp_path / "in/b.nii"),
    )
    assert result.shape == source.shape
    assert result.get_data_dtype() == np.int16
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-3)
    hu = result.get_fdata()
    assert hu.min() == -1024
    assert -1024 < hu.max() <= 3071


def test_bad_inputs_are_listed_and_the_others_are_done(tmp_path, out, model_folder, capsys):
    good = write_head(tmp_path / "in" / "good.nii.gz")
    broken = write_head(tmp_path / "in" / "jane_doe.nii.gz")
    content = bytearray(broken.read_bytes())
    content[-6] ^= 1
    broken.write_bytes(content)
    ct = write_head(tmp_path / "in" / "ct.nii.gz", "ct")

    code = translate_inputs(
        TranslateCommand(model=model_folder, inputs=(broken, ct, good), out=out, keep_names=True)
    )

    assert code == ExitCode.PARTLY_DONE
    assert (out / "good_synthetic-ct.nii.gz").exists()
    printed = capsys.readouterr()
    assert "1 translated, 0 already there, 2 refused" in printed.out
    assert printed.out.rstrip().endswith(
        "The same command tries these again, and keeps the results."
    )
    assert printed.out.startswith("Trained on scans that were not recorded\n")
    assert "jane_doe" not in printed.out + printed.err, "a job log must not hold paths"
    quarantine = out.with_name("out.quarantine.jsonl")
    lines = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert [(line["input"], line["code"], line["path"]) for line in lines] == [
        (1, "gzip-damaged", str(broken)),
        (2, "modality-conflict", str(ct)),
    ]
    assert quarantine.stat().st_mode & 0o777 == 0o600
    assert (
        translate_inputs(TranslateCommand(model=model_folder, inputs=(broken,), out=out))
        == ExitCode.FAILED
    )


def test_a_result_is_kept_only_where_the_same_model_made_it_of_the_same_input(
    tmp_path, out, model_folder, capsys
):
    source = write_head(tmp_path / "a.nii.gz")
    result = out / "a_synthetic-ct.nii.gz"
    command = TranslateCommand(model=model_folder, inputs=(source,), out=out, keep_names=True)
    translate_inputs(command)
    first = result.stat().st_mtime_ns

    assert translate_inputs(command) == ExitCode.DONE
    assert result.stat().st_mtime_ns == first

    # Another patient's scan of the same name must never be given the first one's synthetic CT.
    other = read_nifti(source, modality="mri", pseudonym="a")
    write_nifti(source, other.voxels[:, ::-1], other.affine)
    assert translate_inputs(command) == ExitCode.FAILED
    assert "other-result" in capsys.readouterr().err
    assert result.stat().st_mtime_ns == first

    assert translate_inputs(replace(command, overwrite=True)) == ExitCode.DONE
    assert result.stat().st_mtime_ns > first


def test_a_result_of_many_wishes_is_known_again(tmp_path, out, model_folder):
    """What a NIfTI header can say of its making is shorter than all of it."""
    source = write_head(tmp_path / "a.nii.gz")
    command = TranslateCommand(
        model=model_folder, inputs=(source,), out=out, keep_names=True, axial=True, deidentify=True
    )
    translate_inputs(command)
    first = (out / "a_synthetic-ct.nii.gz").stat().st_mtime_ns

    assert translate_inputs(command) == ExitCode.DONE
    assert (out / "a_synthetic-ct.nii.gz").stat().st_mtime_ns == first
    assert translate_inputs(replace(command, deidentify=False)) == ExitCode.FAILED


def test_what_a_result_lacks_beside_it_is_made_when_it_is_asked_for(tmp_path, out, model_folder):
    source = write_head(tmp_path / "a.nii.gz")
    command = TranslateCommand(model=model_folder, inputs=(source,), out=out, keep_names=True)
    translate_inputs(command)
    before = nibabel.load(out / "a_synthetic-ct.nii.gz").get_fdata()

    assert translate_inputs(replace(command, preview=True)) == ExitCode.DONE

    assert (out / "a_preview.png").exists()
    np.testing.assert_array_equal(nibabel.load(out / "a_synthetic-ct.nii.gz").get_fdata(), before)


def test_a_result_that_a_kill_kept_from_the_list_is_listed(tmp_path, out, model_folder):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_head(tmp_path / "in" / name)
    command = TranslateCommand(
        model=model_folder, inputs=(tmp_path / "in",), out=out, keep_names=True
    )
    translate_inputs(command)
    whole = (out / LIST).read_text()
    first, second = whole.splitlines(keepends=True)
    kept = (out / "a_synthetic-ct.nii.gz").stat().st_mtime_ns

    for torn in (first, first + second[:20]):  # killed before the line, and within it
        (out / LIST).write_text(torn)
        assert translate_inputs(command) == ExitCode.DONE
        assert (out / LIST).read_text() == whole
    assert (out / "a_synthetic-ct.nii.gz").stat().st_mtime_ns == kept


def test_warnings_that_a_kill_kept_from_the_user_are_told_the_next_time(
    tmp_path, out, model_folder, capsys
):
    source = write_head(tmp_path / "a.nii.gz")
    command = TranslateCommand(model=model_folder, inputs=(source,), out=out)
    translate_inputs(command)
    line = json.loads((out / LIST).read_text())
    line["warnings"] = ["Its voxels are of 9 mm\x1b[2J."]
    (out / LIST).write_text(json.dumps(line) + "\n{damaged}\n")
    capsys.readouterr()

    assert translate_inputs(command) == ExitCode.DONE

    printed = capsys.readouterr()
    assert "0 translated, 1 already there" in printed.out
    assert (
        f"warning: Input 1 ({line['sha256'][:8]}): Its voxels are of 9 mm\\x1b[2J." in printed.err
    )


def test_results_are_for_their_owner_alone(tmp_path, out, model_folder):
    source = write_head(tmp_path / "a.nii.gz")
    for form in ("nifti", "dicom"):
        translate_inputs(
            TranslateCommand(
                model=model_folder,
                inputs=(source,),
                out=out / form,
                format=form,
                preview=True,
                uncertainty=True,
            )
        )

    made = [path for path in out.rglob("*_*") if path.name != LIST]
    made += list(out.rglob("*.dcm"))
    assert len(made) == 6 + SHAPE[0]
    wrong = {path.name: oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077}
    assert wrong == {}


def test_a_file_name_gives_a_terminal_no_command(tmp_path, out, model_folder, capsys, monkeypatch):
    source = write_head(tmp_path / "a\x1b[2J\nDone: all fine\x9b.nii.gz")
    broken = tmp_path / "b\x1b]0;x\a.nii.gz"
    broken.write_bytes(b"")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv(QUIET_VARIABLE, "1")  # a progress bar gives a terminal commands

    translate_inputs(
        TranslateCommand(model=model_folder, inputs=(source, broken), out=out, keep_names=True)
    )

    told = capsys.readouterr()
    lines = (told.out + told.err).split("\n")
    assert all(line.isprintable() for line in lines if "Done" in line or "b\\x1b" in line)
    assert any("a\\x1b[2J\\nDone: all fine\\x9b" in line for line in lines)
    assert any("b\\x1b]0;x\\x07.nii.gz" in line for line in lines)


def test_a_file_that_is_no_result_stays(tmp_path, out, model_folder):
    source = write_head(tmp_path / "a.nii.gz")
    result = out / "a_synthetic-ct.nii.gz"
    out.mkdir()
    result.write_text("mine")

    assert (
        translate_inputs(
            TranslateCommand(model=model_folder, inputs=(source,), out=out, keep_names=True)
        )
        == ExitCode.FAILED
    )
    assert result.read_text() == "mine"

    translate_inputs(
        TranslateCommand(
            model=model_folder, inputs=(source,), out=out, keep_names=True, overwrite=True
        )
    )
    assert nibabel.load(result).shape == SHAPE[::-1]


def test_uses_that_cannot_work_are_refused_before_anything_is_made(tmp_path, out, model_folder):
    (tmp_path / "empty").mkdir()
    twins = write_head(tmp_path / "1" / "a.nii"), write_head(tmp_path / "2" / "a.nii.gz")

    with pytest.raises(UsageError, match="no MRI volume in the 1 inputs"):
        translate_inputs(
            TranslateCommand(model=model_folder, inputs=(tmp_path / "empty",), out=out)
        )
    with pytest.raises(NoModelError, match="not a model folder") as refused:
        translate_inputs(TranslateCommand(model=tmp_path, inputs=twins, out=out))
    assert refused.value.exit_code == ExitCode.WRONG_USE
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_killed_while_it_writes_it_leaves_whole_results_only_and_goes_on(
    tmp_path, out, model_folder, form
):
    for number in range(15):
        write_head(tmp_path / "in" / f"{number}.nii.gz")
    command = [sys.executable, "-m", "cyclegan.translate", model_folder, tmp_path / "in"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", out, "--keep-names", "--format", form],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and len(list(out.glob("*"))) < 3:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    results = list(out.glob("[!.]*_synthetic-ct*"))
    assert 1 <= len(results) < 15
    for path in results:
        assert voxels_of(path).shape == SHAPE
    listed = [json.loads(line)["result"] for line in (out / LIST).read_text().splitlines()]
    assert len(results) - len(listed) <= 1, "but for the one at which it was killed"
    again = TranslateCommand(
        model=model_folder, inputs=(tmp_path / "in",), out=out, keep_names=True, format=form
    )
    assert translate_inputs(again) == ExitCode.DONE
    results = [path.name for path in out.glob("[!.]*_synthetic-ct*")]
    assert len(results) == 15
    listed = [json.loads(line)["result"] for line in (out / LIST).read_text().splitlines()]
    assert sorted(listed) == sorted(results)


def voxels_of(result: Path) -> np.ndarray:
    """HU [z, y, x]; raises where a byte of it is missing."""
    if result.is_dir():
        slices = [pydicom.dcmread(path) for path in sorted(result.iterdir())]
        return np.stack([each.pixel_array for each in slices])
    gzip.decompress(result.read_bytes())
    return read_nifti(result, modality="ct", pseudonym="p").voxels


def test_a_full_disk_stops_all_and_leaves_no_half_result(tmp_path, out, model_folder, monkeypatch):
    source = write_head(tmp_path / "a.nii.gz")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cyclegan.translate.written_results.ct_files", full)
    with pytest.raises(OSError, match="No space"):
        translate_inputs(
            TranslateCommand(model=model_folder, inputs=(source,), out=out, format="dicom")
        )
    assert list(out.iterdir()) == []


def test_what_is_in_the_way_is_not_replaced(tmp_path, out, model_folder):
    source = write_head(tmp_path / "a.nii.gz")
    command = TranslateCommand(
        model=model_folder, inputs=(source,), out=out, keep_names=True, format="dicom"
    )
    mine = out / "a_synthetic-ct" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")

    assert translate_inputs(replace(command, overwrite=True)) == ExitCode.FAILED
    assert mine.read_text() == "precious"

    mine.unlink()
    mine.parent.rmdir()
    assert translate_inputs(command) == translate_inputs(command) == ExitCode.DONE
    assert translate_inputs(replace(command, axial=True)) == ExitCode.FAILED
    assert translate_inputs(replace(command, axial=True, overwrite=True)) == ExitCode.DONE
