"""Run commands on a cluster, check its nodes, and plan runs.

Start with a check of every node, and of what N GPUs would gain:

  python -m cluster doctor --store brain.zarr
  python -m cluster plan --gpus 8 --store brain.zarr
  python -m cluster submit --target ray -- python -m cyclegan.train default
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import OmitArgPrefixes

from cluster.plan.assumptions import Assumptions
from cluster.plan.gpus import GPUS
from cluster.submit.job_spec import Driver, Machines, Target
from cyclegan.config.presets import preset
from cyclegan.config.run_storage import RUNS_VARIABLE
from mrct.cli import Json, optional, parse_group, print_json, run_command
from mrct.errors import ExitCode, UsageError
from mrct.help import wrapped_lines
from mrct.progress import say_state
from mrct.storage.paths import StoragePath, storage_path


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitCommand:
    """Run the command after `--` on a cluster; its paths are those of the cluster.

    On every target, a preempted run (exit code 5) is started again.

      python -m cluster submit --target ray -- python -m cyclegan.train default
    """

    HELP_OPTIONS: ClassVar = ("target", "address", "wait", "dry_run", "machines")
    target: Target
    """`ray`: a running Ray cluster. `kuberay`: a RayJob with its own cluster. `slurm`: a batch
    job."""
    address: Annotated[str | None, optional("URL", "RAY_ADDRESS")] = None
    """Ray: URL of the dashboard, such as http://127.0.0.1:8265."""
    wait: bool = True
    """Ray: show the job's output and return its exit code; --no-wait returns at once."""
    dry_run: bool = False
    """Print what would be submitted, without submitting it."""
    include: Annotated[tuple[str, ...], optional("[PATTERN ...]", "none")] = ()
    """Ray: patterns of further files to send, relative to the project's folder, such as
    'data/**/*.csv'."""
    machines: OmitArgPrefixes[Machines] = field(default_factory=Machines)
    driver: OmitArgPrefixes[Driver] = field(default_factory=Driver)


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorCommand:
    """Check that every node can train; the exit code is 1 if a check fails."""

    store: Annotated[StoragePath | None, optional("PATH|URL", "CYCLEGAN_STORE")] = None
    """Store that all nodes must read."""
    storage: Annotated[Path | None, optional("DIR", "CYCLEGAN_STORAGE, else not checked")] = None
    """Folder of runs that all nodes must write to, as in --run.storage."""
    address: Annotated[str | None, optional("HOST:PORT", "RAY_ADDRESS, else only this machine")] = (
        None
    )
    """Address of the cluster's head, such as 10.0.0.1:6379."""
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanCommand:
    """Predict speed, time, demand and cost of a run on N GPUs, with the model of
    docs/scale-model.md.

    No job is started. Unknown quantities are assumed, and each assumption can be set."""

    HELP_OPTIONS: ClassVar = ("gpus", "store", "preset", "measured", "json", "assumptions")
    gpus: int
    """Number of GPUs of the run."""
    store: Annotated[StoragePath | None, optional("PATH|URL", "CYCLEGAN_STORE")] = None
    """Store to train on."""
    preset: str = "default"
    """Preset to train."""
    measured: Annotated[Path | None, optional("DIR", "none")] = None
    """Folder of a run of the preset on one GPU of this kind, whose step time replaces the
    estimate."""
    json: Json = False
    assumptions: OmitArgPrefixes[Assumptions] = field(default_factory=Assumptions)


CLUSTER_COMMANDS = {"doctor": DoctorCommand, "plan": PlanCommand, "submit": SubmitCommand}


def main(argv: list[str]) -> ExitCode:
    """Run the command that the arguments ask for."""
    own, sent = split(argv)
    begin = next((at for at, word in enumerate(own) if re.fullmatch(r"python[\d.]*", word)), None)
    if own[:1] == ["submit"] and begin is not None and not sent:
        raise UsageError(
            "Two hyphens stand before the command to run on the cluster:\n"
            f"  python -m cluster {shlex.join(own[:begin])} -- {shlex.join(own[begin:])}"
        )
    match parse_group(CLUSTER_COMMANDS, own, prog="python -m cluster", description=__doc__):
        case SubmitCommand() as submit:
            return run_submit(submit, sent)
        case DoctorCommand() as doctor:
            return run_doctor(doctor)
        case plan:
            return run_plan(plan)


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into those of this command and the command after `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def run_submit(submit: SubmitCommand, command: Sequence[str]) -> ExitCode:
    """Submit a command, or print what would be submitted."""
    if not command:
        raise UsageError(
            "There is no command to submit. Write it after two hyphens:\n"
            "  python -m cluster submit --target ray -- python -m cyclegan.train smoke ..."
        )
    from cluster.submit.manifests import (
        SBATCH,
        apply_with_kubectl,
        job_yaml,
        rayjob,
        sbatch_line,
        submit_to_slurm,
    )
    from cluster.submit.package import job_files
    from cluster.submit.ray_jobs import job_text, submit_to_ray

    machines, driver = submit.machines, submit.driver
    match submit.target, submit.dry_run:
        case "ray", True:
            print(job_text(command, driver, job_files(command, submit.include)))
        case "ray", False:
            files = job_files(command, submit.include)
            return submit_to_ray(command, driver, submit.address, files, wait=submit.wait)
        case "kuberay", True:
            print(job_yaml(rayjob(machines, driver, command)), end="")
        case "kuberay", False:
            apply_with_kubectl(rayjob(machines, driver, command))
        case "slurm", True:
            print(f"# {shlex.join(sbatch_line(machines, command))}\n{SBATCH.read_text()}", end="")
        case "slurm", False:
            submit_to_slurm(machines, command)
    return ExitCode.DONE


def run_doctor(doctor: DoctorCommand) -> ExitCode:
    """Print the findings, failed checks first."""
    from rich.console import Console

    from cluster.doctor.checks import results_table
    from cluster.doctor.doctor import examine

    store = doctor.store or store_from_environment()
    reading = f", and reading {store}" if store else ""
    say_state(f"Checking versions, devices and storage{reading}")
    findings = list(examine(doctor.address, store, doctor.storage or storage_from_environment()))
    if doctor.json:
        print_json({"checks": [asdict(finding) for finding in findings]})
    else:
        Console().print(results_table(findings))
        print(after_doctor(doctor, store, failed=sum(not each.passed for each in findings)))
    return ExitCode.DONE if all(each.passed for each in findings) else ExitCode.FAILED


def after_doctor(doctor: DoctorCommand, store: StoragePath | None, failed: int) -> str:
    """Return what comes after the checks: the same again, the store's check, or training."""
    if failed:
        what = (
            "1 check failed: do what it says"
            if failed == 1
            else (f"{failed} checks failed: do what they say")
        )
        return f"{what}, and run the same command again."
    if store is None:
        return (
            "All checks passed. The same with the store that training will read:\n"
            "  python -m cluster doctor --store STORE"
        )
    is_cluster = doctor.address or os.environ.get("RAY_ADDRESS")
    many = " (of several GPUs, --scale.workers is their number)" if is_cluster else ""
    return (
        f"All checks passed. Predict what a training takes, then train{many}:\n"
        f"  python -m cluster plan --gpus 1 --store {store}\n"
        f"  python -m cyclegan.train default --data.store {store}"
    )


def store_from_environment() -> StoragePath | None:
    """Return the store that training uses without `--data.store`."""
    path = os.environ.get("CYCLEGAN_STORE")
    return storage_path(path) if path else None


def storage_from_environment() -> Path | None:
    """Return the folder of runs that training uses without `--run.storage`; None for a URL."""
    path = os.environ.get(RUNS_VARIABLE)
    return storage_path(path).local if path else None


def run_plan(plan: PlanCommand) -> ExitCode:
    """Print the plan for one GPU, for one machine, and for the requested number."""
    store = plan.store or store_from_environment()
    if store is None or plan.gpus < 1:
        raise UsageError("A plan needs --gpus of at least 1, and --store or CYCLEGAN_STORE.")
    config, assumed = preset(plan.preset), plan.assumptions
    from rich.console import Console

    from data_prep.store.store import open_store

    opened = open_store(store)  # before what takes longer to import
    from cluster.plan.scaling_plan import (
        measured_pair_s,
        scaling_points,
        scaling_table,
        source_text,
    )

    measured = measured_pair_s(storage_path(plan.measured)) if plan.measured else None
    per_node = assumed.gpus_per_node or GPUS[assumed.gpu].per_node
    counts = sorted({1, min(per_node, plan.gpus), plan.gpus})
    found = list(scaling_points(config, opened, counts, assumed, measured))
    if plan.json:
        prospects = [asdict(each) for each in found]
        print_json({"assumptions": asdict(assumed), "prospects": prospects})
        return ExitCode.DONE
    Console().print(scaling_table(found))
    print(wrapped_lines(source_text(plan.preset, assumed, measured)))
    print(
        "Measure the time of a step on such a machine:\n"
        f"  python -m cyclegan.train {plan.preset} --data.store {store} --plan"
    )
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(main)
