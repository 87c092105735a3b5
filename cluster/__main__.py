"""python -m cluster submit | doctor | plan: the same commands on other machines."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import OmitArgPrefixes, subcommand

from cluster.doctor import examine, store_from_environment, table
from cluster.machines import Driver, Machines
from cluster.ray_jobs import command_line, submit_to_ray
from cluster.submit import SBATCH, Target, apply, manifest, queue, rayjob, sbatch_line
from data_prep.errors import ExitCode, UsageError, run_command
from data_prep.place import PlaceArgument


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit:
    """Run `-- python -m ...` on a cluster; paths in it are those of the cluster.

    A run that ends preempted (exit code 5) is started again on every target."""

    target: Target
    """`ray`: a running Ray cluster. `kuberay`: a RayJob of its own. `slurm`: a batch job."""
    address: str | None = None
    """Ray: its dashboard, such as http://127.0.0.1:8265; default: RAY_ADDRESS."""
    wait: bool = True
    """Ray: show the job's output and return its exit code; --no-wait returns at once."""
    dry_run: bool = False
    """Print what would be sent, and send nothing."""
    machines: OmitArgPrefixes[Machines] = field(default_factory=Machines)
    driver: OmitArgPrefixes[Driver] = field(default_factory=Driver)


@dataclass(frozen=True, kw_only=True, slots=True)
class Doctor:
    """Look whether this machine is fit to train; exit code 1 where something is not well."""

    store: PlaceArgument | None = None
    """A store that must be readable; default: the environment's CYCLEGAN_STORE."""


Command = Annotated[Submit, subcommand("submit")] | Annotated[Doctor, subcommand("doctor")]


def main(argv: list[str]) -> ExitCode:
    """Run the command that the arguments ask for."""
    own, sent = split(argv)
    match tyro.cli(Command, args=own, prog="python -m cluster", description=__doc__):
        case Submit() as submit:
            return run_submit(submit, sent)
        case Doctor() as doctor:
            findings = list(examine(doctor.store or store_from_environment()))
            Console().print(table(findings))
            return ExitCode.DONE if all(each.well for each in findings) else ExitCode.FAILED


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and the command after `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def run_submit(submit: Submit, command: Sequence[str]) -> ExitCode:
    """Send a command, or show what would be sent."""
    if not command:
        raise UsageError(
            "there is no command to submit. Write it after two hyphens:\n"
            "  python -m cluster submit --target ray -- python -m cyclegan.train smoke ..."
        )
    machines, driver = submit.machines, submit.driver
    match submit.target, submit.dry_run:
        case "ray", True:
            print(command_line(command, driver, submit.address, submit.wait))
        case "ray", False:
            return submit_to_ray(command, driver, submit.address, wait=submit.wait)
        case "kuberay", True:
            print(manifest(rayjob(machines, driver, command)), end="")
        case "kuberay", False:
            apply(rayjob(machines, driver, command))
        case "slurm", True:
            print(f"# {shlex.join(sbatch_line(machines, command))}\n{SBATCH.read_text()}", end="")
        case "slurm", False:
            queue(machines, command)
    return ExitCode.DONE


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
