"""The doctor finds what is planted, and nothing on a machine that is well."""

from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.doctor import examine, package_finding, shared_memory_finding, store_finding
from data_prep.errors import ExitCode
from tests.stores import make_store


def test_a_missing_package_is_found():
    assert package_finding("torch").well
    assert not package_finding("torch-of-another-name").well


def test_missing_shared_memory_is_found(tmp_path):
    assert not shared_memory_finding(tmp_path / "shm").well


def test_a_store_is_opened_and_a_flipped_byte_in_it_found(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=0)
    assert store_finding(store.path).well

    shard = next(
        path for path in (store.path / store.volumes[0].name / "0").rglob("*") if is_data(path)
    )
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    finding = store_finding(store.path)
    assert not finding.well
    assert "data_prep check" in finding.remedy


def is_data(path: Path) -> bool:
    return path.is_file() and path.name != "zarr.json"


def test_a_store_that_is_nowhere_ends_in_exit_code_1(tmp_path, capsys):
    assert main(["doctor", "--store", str(tmp_path / "none.zarr")]) == ExitCode.FAILED
    assert "BAD" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["python", "torch", "ray"])
def test_this_machine_has_what_the_tests_run_on(name):
    findings = {finding.what: finding for finding in examine(None)}

    assert findings[name].well
    assert "store" not in findings
