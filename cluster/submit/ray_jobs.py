"""Submit a command to a running Ray cluster through its job server."""

import asyncio
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.submit.job_spec import Driver
from cluster.submit.package import JobFiles
from mrct.errors import ExitCode, UserError
from mrct.job_stop import STOP_WAIT_VARIABLE

STOP_WAIT_S = 120
"""Time that `ray job stop` gives a run to save; Ray's default of 3 s is too short."""

TOO_LARGE = ("status code 413", "exceeds the maximum size")
"""Parts of the refusals of a package, by a proxy in front of the dashboard and by Ray."""
SEND_LESS = (
    "The package of the job's files is too large. Put large files on storage that all nodes share "
    "and name them there, instead of sending them (--include), or raise the limit of the proxy in "
    "front of the dashboard (nginx: client_max_body_size)."
)
CHECK_ADDRESS = (
    "--address must be the URL of the dashboard, such as http://127.0.0.1:8265; a cluster with "
    "token authentication requires RAY_AUTH_MODE=token and its token in the file at "
    "RAY_AUTH_TOKEN_PATH."
)


def runtime_env(folder: Path) -> dict[str, Any]:
    """Return the runtime environment: the folder with the job's files, and the time to stop it."""
    return {
        "working_dir": str(folder),
        "env_vars": {STOP_WAIT_VARIABLE: str(STOP_WAIT_S)},
    }


def entrypoint(command: Sequence[str]) -> str:
    """Return a shell line that runs the command again when it is preempted."""
    return shlex.join(["python", "-m", "cluster.rerun_if_preempted", "--", *command])


def resources(driver: Driver) -> dict[str, float | int | None]:
    """Return what Ray reserves for the command's own process; None: nothing."""
    return {
        "entrypoint_num_cpus": driver.entrypoint_cpus or None,
        "entrypoint_num_gpus": driver.entrypoint_gpus or None,
        "entrypoint_memory": int(driver.entrypoint_memory_gib * 2**30) or None,
    }


def job_text(command: Sequence[str], driver: Driver, files: JobFiles) -> str:
    """Return what `submit_to_ray` sends, for people."""
    reserved = {name: value for name, value in resources(driver).items() if value}
    return f"{files}\nentrypoint: {entrypoint(command)}" + "".join(
        f"\n{name}: {value}" for name, value in reserved.items()
    )


def submit_to_ray(
    command: Sequence[str],
    driver: Driver,
    address: str | None,
    files: JobFiles,
    *,
    wait: bool = True,
) -> ExitCode:
    """Run a command on a Ray cluster with these files.

    With `wait`, show its output and return its exit code; without, return once it is accepted.
    `address` is the URL of the dashboard, such as http://127.0.0.1:8265; by default Ray uses
    RAY_API_SERVER_ADDRESS or RAY_ADDRESS.

    Raises:
        UserError: No cluster answers there, it refuses the token, or the connection was lost.
    """
    try:
        client = JobSubmissionClient(address)
        print(f"Sending {files}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            files.copy_to(Path(folder))
            job = client.submit_job(
                entrypoint=entrypoint(command),
                runtime_env=runtime_env(Path(folder)),
                **resources(driver),
            )
    except (AuthenticationError, ConnectionError, RuntimeError, ValueError) as error:
        is_large = any(part in str(error) for part in TOO_LARGE)
        raise UserError(
            f"The Ray cluster did not accept the job: {error}\n"
            f"{SEND_LESS if is_large else CHECK_ADDRESS}"
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
