"""python -m data_prep: what a person types, sees, and gets as an exit code."""

import json
import os
import subprocess
import sys

import pytest

from data_prep.__main__ import main
from data_prep.store.index import INDEX
from data_prep.store.store import open_store
from mrct.cli import run_command
from tests.support.stores import make_store
from tests.support.volumes import write_head


@pytest.fixture
def data_prep(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command(main, [str(each) for each in arguments])
        return (ended.value.code, *capsys.readouterr())

    return run


GRID = ("--spacing-mm", 6, 4, 4, "--size", 56, 48, "--workers", 0)


def test_convert_check_and_describe_a_cohort(data_prep, tmp_path):
    for number in range(2):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
        write_head(tmp_path / f"ct/{number}.nii.gz", "ct", number)
    folders = ("--mri", tmp_path / "mri", "--ct", tmp_path / "ct", "--out", tmp_path / "s.zarr")

    code, out, _ = data_prep("convert", *folders, *GRID)
    assert (code, "4 written" in out) == (0, True)

    (tmp_path / "ct/2.nii").write_bytes(b"?")
    code, out, err = data_prep("convert", *folders, *GRID)
    assert code == 3
    assert "0 written, 4 already there, 1 refused" in out
    assert "Input 5 (ct/" in err
    assert "header-damaged" in err

    code, out, _ = data_prep("check", tmp_path / "s.zarr", "--full")
    assert (code, "4 volumes checked (every byte), 0 problems" in out) == (0, True)
    assert out.endswith(f"  python -m cyclegan.train demo --data.store {tmp_path}/s.zarr\n")
    _, out, _ = data_prep("check", tmp_path / "s.zarr")
    assert out.endswith(f"  python -m data_prep check {tmp_path}/s.zarr --full\n")

    code, out, _ = data_prep("describe", tmp_path / "s.zarr")
    assert code == 0
    assert "56 x 48 (224 x 192 mm)" in out
    assert "-1024..3071" in out

    _, out, _ = data_prep("check", tmp_path / "s.zarr", "--json")
    assert json.loads(out) == {"volumes": 4, "full": False, "problems": []}
    _, out, _ = data_prep("describe", tmp_path / "s.zarr", "--notes", "--json")
    facts = json.loads(out)
    assert (facts["spacing_mm"], facts["size"]) == ([6, 4, 4], [56, 48])
    assert sum(domain["volumes"] for domain in facts["domains"]) == 4
    cts = [each for each in facts["domains"] if each["modality"] == "ct" and each["volumes"]]
    assert all(each["window"] == [-1024, 3071] for each in cts)
    assert all(isinstance(note, str) for note in facts["notes"])


def test_a_cohort_of_which_nothing_is_usable_fails(data_prep, tmp_path):
    (tmp_path / "mri").mkdir()
    (tmp_path / "mri/0.nii").write_bytes(b"?")
    code, _, _ = data_prep(
        "convert", "--mri", tmp_path / "mri", "--out", tmp_path / "s.zarr", *GRID
    )
    assert code == 1


def test_check_lists_every_problem(data_prep, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=3, ct=1)
    volumes = store.select("mri", "train")
    (store.path / volumes[0].name / "0/c/0/0/0").unlink()
    (store.path / "commits" / f"{volumes[1].name.replace('/', '-')}.json").unlink()
    shard = store.path / volumes[2].name / "labels/body/0/c/0/0/0"
    shard.write_bytes(bytes([255 ^ shard.read_bytes()[0]]) + shard.read_bytes()[1:])

    code, out, err = data_prep("check", store.path)
    assert (code, "2 problems" in out) == (1, True)

    code, out, err = data_prep("check", store.path, "--full")
    assert (code, "3 problems" in out) == (1, True)
    assert out.endswith(f"  python -m data_prep check {store.path} --repair --full\n")
    assert all(volume.name in err for volume in volumes)


def test_a_volume_that_the_index_does_not_know_is_a_problem(data_prep, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    index = (store.path / INDEX).read_bytes()
    more = {v.name for v in make_store(store.path, mri=1, ct=0, seed=5).volumes}
    (store.path / INDEX).write_bytes(index)
    added = more - {v.name for v in open_store(store.path).volumes}

    code, _, err = data_prep("check", store.path)

    assert code == 1
    assert added.pop() in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["describe", "nowhere.zarr"], 2, "python -m data_prep convert"),
        (["describe", "."], 2, "is not a store"),
        (["convert", "--out", "s.zarr"], 2, "--manifest"),
        (["convert", "--out", "s.zarr", "--mri", "."], 2, "it is empty"),
        (["convert", "--out", "s.zarr", "--mri", "nowhere"], 2, "there is no such folder"),
        (["convert", "--out", "s.zarr", "--manifest", "nowhere"], 2, "cannot be read"),
        (["convert", "--out", "s.zarr", "--bids", "."], 2, "it is empty"),
        (["convert", "--out", "s.zarr", "--synthrad", "."], 2, "it is empty"),
        (["convert", "--out", "s.zarr", "--mri", ".", "--bids", "."], 2, "Two kinds of input"),
        (["convert", "--out", "s.zarr", "--mri", ".", "--workers", "-1"], 2, "or more"),
        (["convert", "--out", "s.zarr", "--mri", ".", "--dry-run"], 2, "it is empty"),
        (["frobnicate"], 2, "convert"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(
    data_prep, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    ended, _, err = data_prep(*arguments)
    assert ended == code
    assert words in err.replace("\n", " ")
    assert "Traceback" not in err


def test_another_preprocessing_than_the_store_s_is_wrong_use(data_prep, tmp_path):
    write_head(tmp_path / "mri/0.nii.gz", "mri")
    convert = ("convert", "--mri", tmp_path / "mri", "--out", tmp_path / "s.zarr")
    data_prep(*convert, *GRID)

    code, _, err = data_prep(*convert, *GRID, "--size", 48, 48)

    assert (code, "size: store [56, 48], asked for [48, 48]" in err) == (2, True)


def test_a_bad_manifest_is_wrong_use(data_prep, tmp_path):
    (tmp_path / "list.csv").write_text("path,modality,subject\na.nii,pet,one\n")

    code, _, err = data_prep(
        "convert", "--manifest", tmp_path / "list.csv", "--out", tmp_path / "s.zarr"
    )

    assert (code, "Line 2" in err) == (2, True)


def test_a_dry_run_tells_all_and_writes_nothing(data_prep, tmp_path):
    for number in range(3):
        write_head(tmp_path / f"in/mri/{number}.nii.gz", "mri", number)
    (tmp_path / "in/mri/3.nii").write_bytes(b"?")
    before = sorted(tmp_path.rglob("*"))

    code, out, _ = data_prep(
        "convert",
        *("--mri", tmp_path / "in/mri", "--out", tmp_path / "new/s.zarr", "--dry-run"),
        *("--id-map", tmp_path / "ids.csv"),
        *GRID,
    )

    assert code == 0
    assert "10 x 64 x 56 of 6 x 3.5 x 4 mm -> 10 slices" in out
    assert "Input 4: mri, .nii, REFUSED: header-damaged" in out
    assert "MRI: 1 train, 1 val, 1 test" in out
    assert "3 volumes to convert, 0 already there, 1 refused" in out
    assert str(tmp_path) not in out, "no paths where nobody sits before a terminal"
    assert sorted(tmp_path.rglob("*")) == before


def test_help_alone_tells_layouts_units_defaults_and_what_ends_up_where(data_prep, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = data_prep("convert", "--help-all")
    assert code == 0
    for layout in ("--mri MRI --ct CT", "--bids DIR", "--synthrad Task1", "--manifest LIST.csv"):
        assert layout in out
    assert "in mm" in out
    assert "3.0 1.0 1.0" in out
    assert "STORE.quarantine.jsonl" in out
    assert "2 wrong use" in out
    assert "None" not in out

    code, out, _ = data_prep("--help")
    assert code == 0
    assert "convert --mri MRI --ct CT --out brain.zarr --dry-run" in out


def test_a_mistake_names_the_words_of_the_command(data_prep):
    code, _, err = data_prep("convert", "--out", "brain.zarr")
    assert code == 2
    assert err.startswith("error: No input is given: give --mri DIR")

    code, _, err = data_prep("convert", "--out", "brain.zarr", "--mri", "MRI", "--workrs", 2)
    assert code == 2
    assert "python -m data_prep convert --help" in err
    assert "ConvertSettings" not in err


def test_repair_takes_the_damaged_out_and_the_same_convert_brings_it_back(data_prep, tmp_path):
    write_head(tmp_path / "mri/0.nii.gz", "mri", 0)
    write_head(tmp_path / "ct/0.nii.gz", "ct", 1)
    out = tmp_path / "s.zarr"
    arguments = ("--mri", tmp_path / "mri", "--ct", tmp_path / "ct", "--out", out, *GRID)
    data_prep("convert", *arguments)
    victim = open_store(out).volumes[0].name
    shard = out / victim / "0/c/0/0/0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])  # within a slice

    code, printed, _ = data_prep("check", out, "--repair")
    assert (code, "0 damaged volumes" in printed) == (0, True)  # sizes cannot tell

    code, printed, said = data_prep("check", out, "--repair", "--full")
    assert (code, "1 damaged volumes" in printed, victim in said) == (3, True, True)
    assert "convert ... --out" in printed
    assert len(open_store(out).volumes) == 1

    code, printed, _ = data_prep("convert", *arguments)
    assert (code, "1 written, 1 already there" in printed) == (0, True)
    assert shard.read_bytes() == whole

    shard.unlink()
    code, printed, _ = data_prep("convert", *arguments, "--repair")
    assert (code, "1 written, 1 already there" in printed) == (0, True)
    assert shard.read_bytes() == whole


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "data_prep", "check", store.path],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, b"pipe" in ended.stderr) == (0, False)


def test_a_picture_is_made_on_request(data_prep, tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    code, printed, _ = data_prep("describe", store.path, "--picture", tmp_path / "sheet.png")
    assert (code, "HU inside the body" in printed) == (0, True)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_convert_that_cuts_bodies_says_so_and_what_helps(data_prep, tmp_path):
    for number in range(2):
        write_head(tmp_path / f"mri/{number}.nii.gz", "mri", number)
    grid = ("--spacing-mm", 6, 4, 4, "--size", 32, 48, "--workers", 0)
    out = tmp_path / "s.zarr"

    code, _, err = data_prep("convert", "--mri", tmp_path / "mri", "--out", out, *grid)

    assert code == 0
    assert "2 volumes are cropped" in err
    rows, columns = err.split("--size ")[1].split(".")[0].split()
    assert int(rows) > 44
    assert int(columns) == 48
    _, notes, _ = data_prep("describe", out, "--notes")
    assert "mm at the front" in notes
    assert "mm at the back" in notes
