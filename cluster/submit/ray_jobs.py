"""A command as a job of a running Ray cluster, through its job server."""

import asyncio
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.submit.job_spec import Driver
from mrct.errors import ExitCode, UserError

PROJECT = Path(__file__).resolve().parents[2]
EXCLUDES = (
    ".git",
    ".venv",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "demo",
    "runs",
    "build",
    "site",
    # Nothing of a patient leaves the machine by accident, and packages have a limit of size.
    "*.zarr",
    "*.key",
    "*.jsonl",
    "*.csv",
    "*.png",
    "*.dcm",
    "*.nii",
    "*.nii.gz",
    "*.nrrd",
    "*.nhdr",
    "*.mha",
    "*.mhd",
    "*.safetensors",
    "*.onnx",
    "*.pt2",
)
"""In the project's folder and not sent; .gitignore's entries are not sent either."""
STOP_WAIT_S = 120
"""How long `ray job stop` lets a run save; Ray's own 3 s are too short for that."""


def runtime_env() -> dict[str, Any]:
    """The project's files, and how its jobs are stopped."""
    return {
        "working_dir": str(PROJECT),
        "excludes": list(EXCLUDES),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
    }


def entrypoint(command: Sequence[str]) -> str:
    """The command as a shell line that starts again when it was preempted."""
    return shlex.join(["python", "-m", "cluster.rerun_if_preempted", "--", *command])


def command_line(command: Sequence[str], driver: Driver, address: str | None, wait: bool) -> str:
    """What `submit_to_ray` does, as a line for a shell."""
    options = {
        "--address": address,
        "--entrypoint-num-cpus": driver.entrypoint_cpus,
        "--entrypoint-num-gpus": driver.entrypoint_gpus,
        "--entrypoint-memory": int(driver.entrypoint_memory_gib * 2**30),
    }
    words = ["ray", "job", "submit", *([] if wait else ["--no-wait"])]
    for name, value in options.items():
        words += [name, str(value)] if value else []
    words += ["--runtime-env-json", json.dumps(runtime_env())]
    return f"{shlex.join(words)} -- {entrypoint(command)}"


def submit_to_ray(
    command: Sequence[str], driver: Driver, address: str | None, *, wait: bool = True
) -> ExitCode:
    """Run a command on a Ray cluster with the project's files.

    With `wait`, show its output and return its exit code; without, return once it is accepted.
    `address` is that of the dashboard, such as http://127.0.0.1:8265; without it Ray looks into
    RAY_API_SERVER_ADDRESS and RAY_ADDRESS.

    Raises:
        UserError: No cluster answers there, it refuses our token, or it was lost.
    """
    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(
            entrypoint=entrypoint(command),
            runtime_env=runtime_env(),
            entrypoint_num_cpus=driver.entrypoint_cpus or None,
            entrypoint_num_gpus=driver.entrypoint_gpus or None,
            entrypoint_memory=int(driver.entrypoint_memory_gib * 2**30) or None,
        )
    except (AuthenticationError, ConnectionError, RuntimeError) as error:
        raise UserError(
            f"the Ray cluster did not take the job: {error}\n"
            "--address wants the dashboard, such as http://127.0.0.1:8265; a cluster with token "
            "authentication wants RAY_AUTH_MODE=token and its token in the file that "
            "RAY_AUTH_TOKEN_PATH names."
        ) from error
    print(f"job {job}; to end it: ray job stop {job}", flush=True)
    if not wait:
        print(f"to follow it: ray job logs --follow {job}")
        return ExitCode.DONE
    try:
        asyncio.run(follow(client, job))
        while not (status := client.get_job_status(job)).is_terminal():
            time.sleep(1)
        code = client.get_job_info(job).driver_exit_code
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"the Ray cluster no longer answers ({type(error).__name__}), so how job {job} ended "
            "is not known. When the cluster is back, the same command goes on with the same run."
        ) from error
    except KeyboardInterrupt:
        print(f"\nno longer following; job {job} goes on. To end it: ray job stop {job}")
        return ExitCode.DONE
    print(f"job {job}: {status.value.lower()}")
    if status == JobStatus.SUCCEEDED:
        return ExitCode.DONE
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED


async def follow(client: JobSubmissionClient, job: str) -> None:
    """Print what a job prints, until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
