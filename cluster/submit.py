"""Sends a command of this project to a Ray cluster, a Kubernetes or a Slurm; or shows what it would
send. It does not know what the command does.
"""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jinja2
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from data_prep.errors import ExitCode, UsageError, UserError

Target = Literal["ray", "kuberay", "slurm"]

# Ray leaves out what .gitignore names: .venv, runs, demo, *.zarr. Git's own folder is not in there.
RUNTIME_ENV: dict[str, Any] = {"working_dir": ".", "excludes": [".git"]}
TEMPLATES = {"kuberay": "kuberay/rayjob.yaml.j2", "slurm": "slurm/train.sbatch.j2"}
SENDERS = {"kuberay": ("kubectl", "create", "-f", "-"), "slurm": ("sbatch",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """What a Kubernetes or Slurm job asks for; a running Ray cluster has its machines already."""

    name: str = "cyclegan"
    """Of the job: lower-case letters, digits and hyphens."""
    nodes: int = 1
    """Machines that train; KubeRay adds a small one for the head."""
    gpus_per_node: int = 1
    """GPUs of each; 0 trains on CPUs."""
    cpus_per_node: int = 8
    """CPU cores of each."""
    memory_gib: int = 64
    """Memory of each."""
    image: str = ""
    """KubeRay: container image with this project in its working directory."""
    volume_claim: str = "cyclegan-data"
    """KubeRay: volume claim with stores and runs, mounted at /data."""
    time_limit: str = "24:00:00"
    """Slurm: after this much time the job ends."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", self.name):
            raise UsageError(
                f"The job's name is {self.name!r}; Kubernetes takes lower-case letters, digits and "
                "hyphens only. Give such a --name."
            )


def render(target: Literal["kuberay", "slurm"], machines: Machines, command: Sequence[str]) -> str:
    """The RayJob manifest or the sbatch script that runs a command.

    Raises:
        UsageError: A KubeRay job without an image.
    """
    if target == "kuberay" and not machines.image:
        raise UsageError(
            "a KubeRay job needs --image, a container image that holds this project and its "
            "environment; its pods start with nothing else."
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # YAML and shell; nothing here becomes HTML
    )
    template = environment.get_template(TEMPLATES[target])
    return template.render(
        asdict(machines), entrypoint=shlex.join(command), ray_version=version("ray")
    )


def send(target: Literal["kuberay", "slurm"], rendered: str) -> None:
    """Hand a rendered job to `kubectl` or `sbatch`.

    Raises:
        UserError: The program is not here, or refuses the job.
    """
    program = SENDERS[target]
    if shutil.which(program[0]) is None:
        raise UserError(
            f"there is no {program[0]} on this machine, so the job cannot be sent from here. "
            f"Write it with --dry-run > FILE, and give that to {shlex.join(program)} where it is."
        )
    if subprocess.run(program, input=rendered, text=True, check=False).returncode:
        raise UserError(f"{program[0]} refused the job; its message is above.")


def ray_command(command: Sequence[str], address: str | None) -> str:
    """What `submit_to_ray` does, as a line for a shell."""
    where = ["--address", address] if address else []
    line = ["ray", "job", "submit", *where, "--runtime-env-json", json.dumps(RUNTIME_ENV)]
    return shlex.join([*line, "--", *command])


def submit_to_ray(command: Sequence[str], address: str | None) -> ExitCode:
    """Run a command on a Ray cluster with this folder's files, show its output, return its code.

    `address` is that of the dashboard, such as http://127.0.0.1:8265; without it Ray looks into
    RAY_API_SERVER_ADDRESS and RAY_ADDRESS.

    Raises:
        UserError: No cluster answers there, or it refuses our token.
    """
    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(entrypoint=shlex.join(command), runtime_env=RUNTIME_ENV)
    except (AuthenticationError, ConnectionError, RuntimeError) as error:
        raise UserError(
            f"the Ray cluster did not take the job: {error}\n"
            "--address wants the dashboard, such as http://127.0.0.1:8265; a cluster with token "
            "authentication wants RAY_AUTH_MODE=token and its token in the file that "
            "RAY_AUTH_TOKEN_PATH names."
        ) from error
    print(f"job {job}; to end it: ray job stop {job}", flush=True)
    asyncio.run(follow(client, job))
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(1)
    code = client.get_job_info(job).driver_exit_code
    print(f"job {job}: {status.value.lower()}")
    if status == JobStatus.SUCCEEDED:
        return ExitCode.DONE
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED


async def follow(client: JobSubmissionClient, job: str) -> None:
    """Print what a job prints, until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
