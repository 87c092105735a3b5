"""Submit a command to a running Ray cluster through its job server."""

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
    # So that no patient data is uploaded by accident, and since packages have a size limit.
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
"""Files of the project's folder that are not uploaded, besides those in .gitignore."""
STOP_WAIT_S = 120
"""Time that `ray job stop` gives a run to save; Ray's default of 3 s is too short."""


def runtime_env() -> dict[str, Any]:
    """Return the runtime environment: the project's files, and the time to stop a job."""
    return {
        "working_dir": str(PROJECT),
        "excludes": list(EXCLUDES),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
    }


def entrypoint(command: Sequence[str]) -> str:
    """Return a shell line that runs the command again when it is preempted."""
    return shlex.join(["python", "-m", "cluster.rerun_if_preempted", "--", *command])


def command_line(command: Sequence[str], driver: Driver, address: str | None, wait: bool) -> str:
    """Return the shell line that is equivalent to `submit_to_ray`."""
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
    `address` is the URL of the dashboard, such as http://127.0.0.1:8265; by default Ray uses
    RAY_API_SERVER_ADDRESS or RAY_ADDRESS.

    Raises:
        UserError: No cluster answers there, it refuses the token, or the connection was lost.
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
            f"The Ray cluster did not accept the job: {error}\n"
            "--address must be the URL of the dashboard, such as http://127.0.0.1:8265; a cluster "
            "with token authentication requires RAY_AUTH_MODE=token and its token in the file at "
            "RAY_AUTH_TOKEN_PATH."
        ) from error
    print(f"Job {job}; to stop it: ray job stop {job}", flush=True)
    if not wait:
        print(f"To follow it: ray job logs --follow {job}")
        return ExitCode.DONE
    try:
        asyncio.run(follow_job(client, job))
        while not (status := client.get_job_status(job)).is_terminal():
            time.sleep(1)
        code = client.get_job_info(job).driver_exit_code
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"The Ray cluster no longer answers ({type(error).__name__}), so the outcome of job "
            f"{job} is unknown. When the cluster is back, the same command resumes the run."
        ) from error
    except KeyboardInterrupt:
        print(f"\nNo longer following; job {job} continues. To stop it: ray job stop {job}")
        return ExitCode.DONE
    print(f"Job {job}: {status.value.lower()}")
    if status == JobStatus.SUCCEEDED:
        return ExitCode.DONE
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED


async def follow_job(client: JobSubmissionClient, job: str) -> None:
    """Print the output of a job until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
