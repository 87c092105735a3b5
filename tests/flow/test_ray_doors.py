"""Nobody gets into a Ray of this project without its token, whatever the user's shell says."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from mrct.ray_session import LOOPBACK_ONLY
from tests.support.ray_nodes import head, offspring
from tests.support.volumes import write_head

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_every_port_of_a_local_ray_asks_for_the_token_and_the_dashboard_is_on_loopback():
    told = subprocess.run(
        [sys.executable, "-m", "tests.flow.doors"],
        cwd=ROOT,
        env=os.environ | {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    doors = json.loads(told.stdout.splitlines()[-1])
    assert len(doors) >= 6, doors  # head, raylet (two), driver, worker, dashboard, its agent
    for name, ip, port, answers in doors:
        refused = [each for each in answers.values() if each in (401, 403, "UNAUTHENTICATED")]
        opened = [each for each in answers.values() if each in (200, "OPEN")]
        assert refused, f"{name} at {ip}:{port} does not ask for a token: {answers}"
        assert not opened, f"{name} at {ip}:{port}: {answers}"
    dashboards = [ip for name, ip, _, _ in doors if "dashboard/dashboard.py" in name]
    assert dashboards
    assert set(dashboards) == {"127.0.0.1"}


# A network of its own, so that the open head is open to nobody.
ELSEWHERE = """
set -e
ip link set lo up
ip addr add 198.51.100.1/24 dev lo
export RAY_AUTH_MODE=disabled
python -m ray.scripts.scripts start --head --node-ip-address=198.51.100.1 --port=6379 \
    --num-cpus=1 --include-dashboard=false --disable-usage-stats --temp-dir="$1" >"$1/log" 2>&1
python -m data_prep convert --ray-address 198.51.100.1:6379 --mri "$2" --out "$1/s.zarr"
"""


def test_a_head_that_others_reach_is_refused_without_a_token(tmp_path):
    if os.getuid() or subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        pytest.skip("needs the right to make a network namespace (root)")
    write_head(tmp_path / "mri" / "0.nii.gz", "mri", 0)
    folder = tempfile.mkdtemp(prefix="ray-")
    # All that it starts ends with its namespace of processes.
    alone = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    told = subprocess.run(
        [*alone, "bash", "-c", ELSEWHERE, "elsewhere", folder, str(tmp_path / "mri")],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    shutil.rmtree(folder, ignore_errors=True)

    assert told.returncode == 1, told.stdout + told.stderr
    assert "requires no token" in told.stderr
    assert "RAY_AUTH_MODE=token ray start --head" in told.stderr
    assert "Traceback" not in told.stderr


JOIN = """
from mrct.cli import run_command
from mrct.errors import ExitCode
from mrct.ray_session import ray_session

def main(argv):
    with ray_session():
        print("joined")
    return ExitCode.DONE

run_command(main)
"""


def test_a_head_on_loopback_listens_there_alone_and_commands_join_it(tmp_path):
    variable, value = LOOPBACK_ONLY.split("=")
    with head(tmp_path, **{variable: value}) as cluster:
        join = cluster._replace(env=cluster.env | {"RAY_ADDRESS": cluster.head})
        joined = join.call(sys.executable, "-c", JOIN)
        outside = join.call(sys.executable, "-c", JOIN, **{variable: "1"})
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for each in offspring(cluster.process)
            for connection in each.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]

    assert len(listening) >= 4  # head, raylet (two), dashboard
    assert set(listening) == {"127.0.0.1"}
    assert (joined.returncode, joined.stdout) == (0, "joined\n"), joined.stderr
    assert outside.returncode == 1
    assert f"requires {LOOPBACK_ONLY} in this shell too" in outside.stderr
    assert "Traceback" not in outside.stderr
