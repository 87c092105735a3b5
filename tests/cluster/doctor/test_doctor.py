"""The doctor finds what is planted on one of two nodes, and has nothing against the other."""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.__main__ import main
from cluster.doctor import checks
from cluster.doctor.checks import CheckResult
from cluster.doctor.doctor import HERE, examine_here
from cluster.doctor.probe import DRIVER, SOURCES, GpuStatus, NodeFacts, ReadSpeed
from mrct.errors import ExitCode
from tests.support.ray_nodes import Cluster, head, node
from tests.support.stores import make_store

FACTS = NodeFacts(
    node="a",
    versions={"torch": "2.13.0", SOURCES: "0123abcd", "driver": "580.1"},
    shared_mib=16384,
    files=65536,
    free_mib={"/tmp": 100_000},
)
GPU = GpuStatus(name="H100", celsius="40", uncorrected="0", computes="")


def bad(findings: Iterable[CheckResult]) -> list[tuple[str, str]]:
    return [(each.what, each.where) for each in findings if not each.passed]


class TwoNodes(NamedTuple):
    cluster: Cluster
    store: Path
    storage: Path
    foreign: Path
    """A folder that holds another version of zarr, for PYTHONPATH."""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    """Real nodes, one of them in a mount namespace with little shared memory, a small disk of its
    own as storage and nothing in the place of the store, with few files and a foreign package."""
    if os.getuid() or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("needs the right to make a mount namespace (root)")
    folder = tmp_path_factory.mktemp("doctor")
    store, storage = make_store(folder / "s.zarr", mri=1, ct=1).path, folder / "runs"
    storage.mkdir()
    foreign = folder / "foreign"
    (foreign / "zarr-9.9.9.dist-info").mkdir(parents=True)
    (foreign / "zarr-9.9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: zarr\nVersion: 9.9.9\n"
    )
    plant = [
        f"mount -t tmpfs -o size=20m tmpfs {storage}",
        f"mount -t tmpfs tmpfs {store}",
        "mount -t tmpfs -o size=200m tmpfs /dev/shm",
        "ulimit -n 2048",
        'exec "$@"',
    ]
    with ExitStack() as stack:
        cluster = stack.enter_context(head(folder))
        stack.enter_context(
            node(
                cluster,
                "sick",
                *("--num-cpus=1", "--object-store-memory=90000000"),
                inside=["unshare", "--mount", "bash", "-c", " && ".join(plant), "plant"],
                env={"PYTHONPATH": str(foreign)},
            )
        )
        waited = cluster.call(
            "python", "-m", "cluster.wait_for_nodes", "2", RAY_ADDRESS=cluster.head
        )
        assert waited.returncode == 0, waited.stdout + waited.stderr
        yield TwoNodes(cluster, store, storage, foreign)


@pytest.mark.ray
@pytest.mark.slow
def test_everything_that_was_planted_is_found_on_its_node_and_told_first(two_nodes):
    told = two_nodes.cluster.call(
        *("python", "-m", "cluster", "doctor", "--address", two_nodes.cluster.head),
        *("--store", str(two_nodes.store), "--storage", str(two_nodes.storage)),
        COLUMNS="400",
    )

    assert told.returncode == ExitCode.FAILED, told.stdout + told.stderr
    rows = [re.split(r" {2,}", line.strip()) for line in told.stdout.splitlines()[3:] if line[2:]]
    rows = [row for row in rows if row[0] in ("FAIL", "OK")]
    marks = [row[0] for row in rows]
    assert marks == sorted(marks)  # FAIL comes before OK
    sick = {row[2] for row in rows if row[:2] == ["FAIL", "/dev/shm"]}
    assert len(sick) == 1
    found = {row[1]: row for row in rows if row[0] == "FAIL" and row[2] in sick}
    assert set(found) == {"/dev/shm", "zarr", "store", "storage", "free disk", "open files"}
    # Which of two storages is the wrong one, nobody can tell.
    assert {row[1] for row in rows if row[0] == "FAIL" and row[2] not in sick} == {"storage"}
    assert all(len(row) == 5 for row in found.values()), "each has a remedy"
    assert "9.9.9; elsewhere 3" in found["zarr"][3]
    assert "cannot see the files of" in found["storage"][3]
    fine = {row[1] for row in rows if row[0] == "OK"}
    assert {"torch", "ray", SOURCES, "clock", "store", "all-reduce"} <= fine
    assert list(two_nodes.storage.iterdir()) == []


RUNTIME_ENVIRONMENT = """
import json, sys, ray
from pathlib import Path
from cluster.doctor.doctor import examine
environment = {"env_vars": {"PYTHONPATH": sys.argv[2]}}
ray.init(sys.argv[1], runtime_env=environment, log_to_driver=False)
findings = examine(sys.argv[1], None, Path(sys.argv[3]))
print(json.dumps([[each.what, each.where, each.found] for each in findings if not each.passed]))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_versions_that_a_runtime_environment_changes_and_storage_that_none_can_write_are_found(
    two_nodes,
):
    (two_nodes.storage / "file").touch()
    told = two_nodes.cluster.call(
        *("python", "-c", RUNTIME_ENVIRONMENT, two_nodes.cluster.head, str(two_nodes.foreign)),
        str(two_nodes.storage / "file" / "runs"),
    )

    assert told.returncode == 0, told.stdout + told.stderr
    found: list[list[Any]] = json.loads(told.stdout.splitlines()[-1])
    assert ["zarr", "this command"] in [row[:2] for row in found]
    assert "Not a directory" in str([row for row in found if row[0] == "storage"])


BUSY = """
import sys, ray
from cluster.doctor import doctor
ray.init(sys.argv[1], log_to_driver=False)
other = ray.remote(num_gpus=1)(doctor.NodeProbe).remote("other", 0)
ray.get(other.now.remote())
doctor.START_TIMEOUT_S = 20
try:
    list(doctor.examine(sys.argv[1]))
except doctor.UserError as error:
    print(error)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_whose_gpu_is_busy_is_named_instead_of_waited_for(two_nodes):
    with node(two_nodes.cluster, "busy", "--num-cpus=1", "--num-gpus=1"):
        waited = two_nodes.cluster.call(
            *("python", "-m", "cluster.wait_for_nodes", "3"), RAY_ADDRESS=two_nodes.cluster.head
        )
        assert waited.returncode == 0, waited.stdout + waited.stderr
        told = two_nodes.cluster.call("python", "-c", BUSY, two_nodes.cluster.head)

    assert told.returncode == 0, told.stdout + told.stderr
    one = (
        r"These nodes cannot be checked: [\d.]+ \(\w{6}\)\. "
        r"No process started there within 20 s"
    )
    assert re.match(one, told.stdout.splitlines()[-1]), told.stdout


def test_this_machine_has_what_the_tests_run_on(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=1)
    findings = list(examine_here(store.path, tmp_path))

    assert not bad(findings)
    assert {each.where for each in findings} == {"all", HERE}
    assert {"torch", "ray", SOURCES, "cuda", "driver", "/dev/shm", "open files", "clock"} <= {
        each.what for each in findings
    }
    (reading,) = (each.found for each in findings if each.what == "store")
    assert re.match(r"2 volumes, one verified; [\d,]+ slices/s, [\d,]+ MiB/s", reading)


def test_a_flipped_byte_in_a_store_is_found(tmp_path):
    store = make_store(tmp_path / "s.zarr", mri=1, ct=0)
    shard = next(
        path for path in (store.path / store.volumes[0].name / "0").rglob("*") if is_data(path)
    )
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    assert bad(examine_here(store.path, None)) == [("store", HERE)]


def is_data(path: Path) -> bool:
    return path.is_file() and path.name != "zarr.json"


def test_a_store_that_is_nowhere_ends_in_exit_code_1(tmp_path, capsys):
    assert main(["doctor", "--store", str(tmp_path / "none.zarr")]) == ExitCode.FAILED
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows.index("FAIL") < rows.index("OK")

    assert main(["doctor", "--store", str(tmp_path / "none.zarr"), "--json"]) == ExitCode.FAILED
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [each["what"] for each in checks if not each["passed"]] == ["store"]


@pytest.mark.parametrize(
    ("sick", "found"),
    [
        ({"shared_mib": 64}, "/dev/shm"),
        ({"files": 1024}, "open files"),
        ({"free_mib": {"/tmp": 100}}, "free disk"),
        ({"ahead_s": -30.0}, "clock"),
        ({"num_promised": 8, "gpu_trouble": "no nvidia-smi"}, "GPUs"),
        ({"gpus": (GPU, replace(GPU, uncorrected="3"))}, "GPU 1"),
        ({"gpus": (replace(GPU, computes="a matrix product was wrong"),)}, "GPU 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sick_node_is_told_with_a_remedy_and_a_sound_one_is_not(sick, found):
    (finding,) = (each for each in checks.judge_node(replace(FACTS, **sick)) if not each.passed)

    assert (finding.what, finding.where) == (found, "a")
    assert finding.remedy
    assert bad(checks.judge_node(replace(FACTS, gpus=(GPU,), num_promised=1, files=-1))) == []


def test_a_clock_is_not_blamed_for_the_length_of_the_way():
    slow = replace(FACTS, ahead_s=1.5, clock_error_s=0.8)

    assert bad(checks.judge_node(slow)) == []


@pytest.mark.parametrize("name", ["torch", SOURCES, "driver"])
def test_the_node_with_another_version_is_named(name):
    others = [replace(FACTS, node=node) for node in "bc"]
    odd = replace(FACTS, versions=FACTS.versions | {name: "other"})

    assert bad(checks.judge_versions([odd, *others])) == [(name, "a")]
    assert bad(checks.judge_versions(others)) == []


def test_a_head_without_gpus_needs_no_driver():
    head = replace(FACTS, node="head", versions=FACTS.versions | {DRIVER: "none"})
    workers = [replace(FACTS, node=node, num_promised=1) for node in "bc"]
    odd = replace(workers[0], node="d", versions=FACTS.versions | {DRIVER: "570.1"})

    assert bad(checks.judge_versions([head, *workers])) == []
    assert bad(checks.judge_versions([head, *workers, odd])) == [(DRIVER, "d")]


def test_a_slow_store_a_smaller_store_and_a_slow_link_are_told():
    reading = ReadSpeed(num_volumes=9, slices_per_s=500.0)
    readings = {"a": reading, "b": reading, "c": replace(reading, num_volumes=8)}

    assert bad(checks.judge_readings("s", readings, gpus=0)) == [("store", "c")]
    assert len(bad(checks.judge_readings("s", readings, gpus=8))) == 3
    # Of a node that sees no store nobody differs, whoever is asked first.
    blind = {"a": ReadSpeed(trouble="there is no store"), "b": reading}
    assert bad(checks.judge_readings("s", blind, gpus=0)) == [("store", "a")]
    assert bad([checks.judge_link(0.01, "", 2)]) == [("all-reduce", "all")]
    assert bad([checks.judge_link(None, "timed out", 2)]) == [("all-reduce", "all")]
    assert bad([checks.judge_link(10.0, "", 2)]) == []
