"""What is sent to a cluster is what its software accepts, and runs the command to the letter."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray
import yaml

from cluster.__main__ import main, split
from cluster.submit.job_spec import Driver, Machines
from cluster.submit.manifests import SBATCH, job_yaml, rayjob, sbatch_line
from cluster.submit.package import PROJECT
from mrct.errors import ExitCode, UsageError, UserError
from tests.support.schemas import Kuberay, pod_templates

# Quotes, blanks, braces and dollars: what a template or a shell may trip over.
COMMAND = ["python", "-m", "cyclegan.train", "demo", "--run.name", 'it\'s {{a}} "$HOME" <b> & c']
AGAIN = ["python", "-m", "cluster.rerun_if_preempted", "--"]


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """A PATH with bash and python, and with the programs of a cluster that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_rayjob_is_what_kuberay_accepts_and_asks_for_the_machines(gpus):
    machines = Machines(image="registry/cyclegan:1", nodes=3, min_nodes=2, gpus_per_node=gpus)

    job = yaml.safe_load(job_yaml(rayjob(machines, Driver(entrypoint_cpus=2), COMMAND)))

    Kuberay(PROJECT.parent / "shared" / "kuberay-crds").validate(job)
    assert shlex.split(job["spec"]["entrypoint"]) == [*AGAIN, *COMMAND]
    assert job["spec"]["entrypointNumCpus"] == 2
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [workers[f"{kind}eplicas"] for kind in ("minR", "r", "maxR")] == [2, 3, 3]
    head, worker = (pod["spec"]["containers"][0] for pod in pod_templates(job))
    assert head["image"] == worker["image"] == "registry/cyclegan:1"
    assert worker["resources"]["limits"].get("nvidia.com/gpu") == (str(gpus) if gpus else None)
    assert "&" not in job_yaml(rayjob(machines, Driver(), ["python"]))  # no anchors


def test_a_rayjob_without_an_image_is_refused():
    with pytest.raises(UsageError, match="--image"):
        rayjob(Machines(), Driver(), COMMAND)


def test_where_there_is_no_kubectl_the_manifest_is_left_in_a_file(
    on_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    code = main(["submit", "--target", "kuberay", "--image", "a", "--name", "b", "--", *COMMAND])

    assert code == ExitCode.DONE
    (path,) = tmp_path.glob("b-*.yaml")
    assert str(path) in capsys.readouterr().out
    assert yaml.safe_load(path.read_text())["metadata"]["name"] == path.stem


def test_kubectl_gets_the_manifest_and_its_refusal_is_an_error(on_path, tmp_path, capfd):
    arguments = ["submit", "--target", "kuberay", "--image", "a", "--", *COMMAND]
    on_path("kubectl", f'echo "$@" > {tmp_path}/arguments; /bin/cat > {tmp_path}/manifest')
    assert main(arguments) == ExitCode.DONE
    assert (tmp_path / "arguments").read_text() == "apply -f -\n"
    assert yaml.safe_load((tmp_path / "manifest").read_text())["kind"] == "RayJob"

    on_path("kubectl", "echo no such host >&2; exit 1")
    with pytest.raises(UserError, match="kubectl refused"):
        main(arguments)
    assert "no such host" in capfd.readouterr().err


def test_sbatch_gets_the_standing_script_the_machines_and_the_command():
    machines = Machines(nodes=4, gpus_per_node=8, time_limit="1:00:00", account="mri")

    line = sbatch_line(machines, COMMAND)

    assert line[-len(COMMAND) :] == COMMAND
    assert line[-len(COMMAND) - 1] == str(SBATCH)
    assert {"--nodes=4", "--gpus-per-node=8", "--time=1:00:00", "--account=mri"} <= set(line)
    assert not any("--gpus" in each for each in sbatch_line(Machines(gpus_per_node=0), COMMAND))


def test_where_there_is_no_sbatch_the_line_for_it_is_told(on_path):
    with pytest.raises(UserError, match="sbatch --chdir"):
        main(["submit", "--target", "slurm", "--", *COMMAND])


def test_a_dry_run_for_ray_says_what_is_sent_and_reserved(capsys):
    options = ["--entrypoint-cpus", "1", "--entrypoint-memory-gib", "2", "--dry-run"]

    assert main(["submit", "--target", "ray", *options, "--", *COMMAND]) == ExitCode.DONE

    shown = capsys.readouterr().out
    assert re.search(r"^\d{3,} files, \d+\.\d MiB$", shown, re.MULTILINE)
    assert f"entrypoint: {shlex.join([*AGAIN, *COMMAND])}\n" in shown
    assert f"entrypoint_num_cpus: 1.0\nentrypoint_memory: {2 * 2**30}\n" in shown


@pytest.mark.parametrize(
    ("target", "begins"),
    [("kuberay", "apiVersion: ray.io"), ("slurm", "# sbatch --chdir")],
)
def test_a_dry_run_prints_what_would_be_sent(target, begins, capsys):
    code = main(["submit", "--target", target, "--image", "a", "--dry-run", "--", *COMMAND])

    assert code == ExitCode.DONE
    assert capsys.readouterr().out.startswith(begins)


def test_nothing_to_submit_is_wrong_use():
    with pytest.raises(UsageError, match="after two hyphens"):
        main(["submit", "--target", "ray"])


def test_the_command_begins_at_the_first_two_hyphens():
    assert split(["a", "--", "b", "--", "c"]) == (["a"], ["b", "--", "c"])


@pytest.mark.parametrize(
    "wrong", [{"name": "A b"}, {"name": "a" * 41}, {"nodes": 0}, {"nodes": 2, "min_nodes": 3}]
)
def test_machines_that_cannot_be_are_wrong_use(wrong):
    with pytest.raises(UsageError):
        Machines(**wrong)


def run_again(script: Path) -> subprocess.Popen[bytes]:
    """The wrapper around a bash script."""
    line = [sys.executable, "-m", "cluster.rerun_if_preempted", "--", "bash", str(script)]
    return subprocess.Popen(line, cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_preempted_command_is_started_again_until_it_ends_otherwise(tmp_path, last):
    script = tmp_path / "run.sh"
    script.write_text(
        f"cd {tmp_path}; echo x >> starts; [ $(wc -l < starts) -ge 3 ] && exit {last}; exit 5"
    )

    assert run_again(script).wait(60) == last
    assert (tmp_path / "starts").read_text().split() == ["x"] * 3


def test_a_command_whose_job_is_stopped_is_not_started_again(tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(
        f"cd {tmp_path}; echo x >> starts; while [ ! -e go ]; do sleep 0.1; done; exit 5"
    )
    wrapper = run_again(script)
    while not (tmp_path / "starts").exists():
        assert wrapper.poll() is None
    wrapper.terminate()
    (tmp_path / "go").touch()

    assert wrapper.wait(60) == 5
    assert (tmp_path / "starts").read_text().split() == ["x"]


class Proxy(BaseHTTPRequestHandler):
    """A dashboard behind a proxy that lets no large body pass, as nginx does by default."""

    def do_GET(self) -> None:
        version = {"version": "4", "ray_version": ray.__version__, "ray_commit": "0"}
        known = self.path == "/api/version"
        self.answer(200 if known else 404, json.dumps(version) if known else "")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(413, "<h1>413 Request Entity Too Large</h1>")

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_a_package_too_large_for_a_proxy_is_told_with_what_to_do():
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"

        with pytest.raises(UserError, match=r"413(.|\n)*too large\. Put large files") as refused:
            main(["submit", "--target", "ray", "--address", address, "--", *COMMAND])
        server.shutdown()

    assert "RAY_AUTH_MODE" not in str(refused.value)
