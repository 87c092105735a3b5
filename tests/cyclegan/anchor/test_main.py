"""The command says what was warped and how well, and refuses what it cannot use."""

import pytest

from cyclegan.anchor.__main__ import main
from cyclegan.config.presets import smoke
from cyclegan.errors import TableError
from data_prep.store.companions.cache import open_companions
from data_prep.store.companions.group import COMPANIONS
from mrct.errors import ExitCode, NoStoreError, UsageError
from tests.support.runs import run_of_one_step
from tests.support.stores import make_small_store


@pytest.fixture
def store(tmp_path):
    return make_small_store(tmp_path / "s.zarr")


def test_warps_are_made_and_told_with_a_picture(store, tmp_path, capsys):
    words = [str(store.path), "--workers", "0", "--ct-per-mri", "1"]

    assert main(words) == ExitCode.DONE

    told = capsys.readouterr().out
    (key,) = (store.path / COMPANIONS).names()
    assert told.startswith("2 CTs warped onto 2 MRIs\n")
    assert "nats a voxel" in told
    assert "Outlines differ by" in told
    assert open_companions(store.path, key).hash in told
    assert (tmp_path / "s.zarr.warps.png").read_bytes()[:4] == b"\x89PNG"
    assert main(words) == ExitCode.DONE
    assert "0 CTs warped onto 0 MRIs, 2 MRIs had theirs" in capsys.readouterr().out


def test_a_second_round_registers_to_the_cts_of_a_run(store, capsys):
    run = run_of_one_step(store, smoke()).run_folder
    words = [str(store.path), "--workers", "0", "--ct-per-mri", "1"]

    assert main([*words, "--model", str(run)]) == ExitCode.DONE

    assert "2 CTs warped onto 2 MRIs" in capsys.readouterr().out
    with pytest.raises(TableError, match=f"python -m cyclegan.contrast {run}"):
        main([*words, "--run", str(run)])


def test_what_cannot_be_used_is_refused_with_the_remedy(store, tmp_path):
    with pytest.raises(UsageError, match="--ct-per-mri is 0: give at least 1"):
        main([str(store.path), "--ct-per-mri", "0"])
    with pytest.raises(NoStoreError, match="There is no store at"):
        main([str(tmp_path / "none.zarr")])
    with pytest.raises(UsageError, match="neither a run nor a checkpoint"):
        main([str(store.path), "--workers", "0", "--model", str(tmp_path)])
