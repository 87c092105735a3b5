"""Submit a command as a RayJob of Kubernetes or a batch job of Slurm.

The files in `kuberay/` and `slurm/` are submitted with the command and the machines filled in; each
file also works on its own.
"""

import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.submit.job_spec import Driver, Machines
from cluster.submit.package import PROJECT
from cluster.submit.ray_jobs import entrypoint
from mrct.errors import UsageError, UserError
from mrct.storage.atomic import write_atomic

RAYJOB = Path(__file__).parents[1] / "kuberay" / "rayjob.yaml"
SBATCH = Path(__file__).parents[1] / "slurm" / "train.sbatch"
GPU = "nvidia.com/gpu"


def rayjob(machines: Machines, driver: Driver, command: Sequence[str]) -> dict[str, Any]:
    """Return the RayJob that runs a command, with a new name each time, since a RayJob runs once.

    Raises:
        UsageError: No image is given.
    """
    if not machines.image:
        raise UsageError(
            "A KubeRay job needs --image, a container image with this project and its environment, "
            "since its pods contain nothing else. To make one:\n"
            "  docker build -f cluster/Dockerfile -t REGISTRY/cyclegan:TAG ."
        )
    job: dict[str, Any] = yaml.safe_load(RAYJOB.read_text())
    job["metadata"]["name"] = f"{machines.name}-{time.strftime('%m%d-%H%M%S')}"
    spec = job["spec"]
    spec["entrypoint"] = entrypoint(command)
    if driver.entrypoint_cpus:
        spec["entrypointNumCpus"] = driver.entrypoint_cpus
    if driver.entrypoint_gpus:
        spec["entrypointNumGpus"] = driver.entrypoint_gpus
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    workers["replicas"] = workers["maxReplicas"] = machines.nodes
    workers["minReplicas"] = machines.min_nodes or machines.nodes
    for group in (spec["rayClusterSpec"]["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        pod["containers"][0]["image"] = machines.image
        pod["volumes"][0]["persistentVolumeClaim"] = {"claimName": machines.volume_claim}
    wanted = {"cpu": str(machines.cpus_per_node), "memory": f"{machines.memory_gib}Gi"}
    if machines.gpus_per_node:
        wanted[GPU] = str(machines.gpus_per_node)
    else:
        workers["groupName"] = "cpu"
        del workers["template"]["spec"]["tolerations"]
    resources = {"requests": wanted, "limits": dict(wanted)}
    workers["template"]["spec"]["containers"][0]["resources"] = resources
    return job


def job_yaml(job: dict[str, Any]) -> str:
    """Return a Kubernetes manifest as YAML without anchors, in the original order of keys."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump(job, Dumper=Plain, sort_keys=False, width=100)


def apply_with_kubectl(job: dict[str, Any]) -> None:
    """Submit a RayJob to Kubernetes, or write it to a file if there is no kubectl.

    Raises:
        UserError: kubectl refuses the job.
    """
    name, text = job["metadata"]["name"], job_yaml(job)
    if shutil.which("kubectl") is None:
        path = Path(f"{name}.yaml").absolute()
        write_atomic(path, text.encode())
        print(
            "There is no kubectl on this machine. On a machine that has it: kubectl apply -f "
            f"{path}"
        )
        return
    run_program(["kubectl", "apply", "-f", "-"], text)
    print(
        f"  kubectl get rayjob {name} --watch\n"
        f"  kubectl logs --follow job/{name}\n"
        f"  kubectl delete rayjob {name}     # stops it"
    )


def sbatch_line(machines: Machines, command: Sequence[str]) -> list[str]:
    """Return the sbatch command line: the batch script with the requested resources."""
    wanted = {
        "job-name": machines.name,
        "nodes": machines.nodes,
        "cpus-per-task": machines.cpus_per_node,
        "mem": f"{machines.memory_gib}G",
        "time": machines.time_limit,
        "gpus-per-node": machines.gpus_per_node,
        "partition": machines.partition,
        "account": machines.account,
    }
    options = [f"--{name}={value}" for name, value in wanted.items() if value]
    return ["sbatch", f"--chdir={PROJECT}", *options, str(SBATCH), *command]


def submit_to_slurm(machines: Machines, command: Sequence[str]) -> None:
    """Submit a command to Slurm.

    Raises:
        UserError: There is no sbatch on this machine, or it refuses the job.
    """
    line = sbatch_line(machines, command)
    if shutil.which(line[0]) is None:
        raise UserError(
            "There is no sbatch on this machine, so the job cannot be submitted from here. On a "
            "machine that has it, in the project's folder:\n"
            f"  {shlex.join(line)}"
        )
    run_program(line)


def run_program(line: Sequence[str], text: str = "") -> None:
    """Run a program of the cluster and show its output.

    Raises:
        UserError: The program failed.
    """
    if subprocess.run(line, input=text, text=True, check=False).returncode:
        raise UserError(f"{line[0]} refused the job; its message is above.")
