"""The files that stand in cluster/ are what the programs that read them accept, to the letter."""

import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator

from cyclegan.config.train import ScaleConfig
from mrct.ray_session import ADDED_MACHINES
from tests.support.docker_context import sent_to_docker
from tests.support.schemas import Kuberay, pod_templates, validate_core, validate_ray_up

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for path in [*CLUSTER.rglob("*.sbatch"), *CLUSTER.rglob("*.sh"), ROOT / ".ci" / "run"]
)
REFUSALS = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of a file in cluster/."""
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def with_typo(document: Any, path: tuple[str | int, ...]) -> Any:
    """The same with the last name of a path misspelt."""
    wrong = deepcopy(document)
    node = wrong
    for name in path[:-1]:
        node = node[name]
    node[f"{path[-1]}x"] = node.pop(path[-1])
    return wrong


@pytest.fixture(scope="module")
def kuberay() -> Kuberay:
    return Kuberay(ROOT.parent / "shared" / "kuberay-crds")


@pytest.mark.parametrize("name", ["kuberay/rayjob.yaml", "kuberay/raycluster.yaml"])
def test_kuberay_accepts_the_manifest(kuberay, name):
    kuberay.validate(documents(name)[0])


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
POD = (*HEAD, "template", "spec")


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "shutdownAfterJobFinishes"),
        ("spec", "rayClusterSpec", "authOptions"),
        (*HEAD, "rayStartParams"),
        (*POD, "terminationGracePeriodSeconds"),
        (*POD, "containers", 0, "readinessProbe", "httpGet", "port"),
        (*POD, "volumes", 1, "emptyDir", "medium"),
    ],
    ids=lambda path: str(path[-1]),
)
def test_a_typo_in_the_rayjob_is_refused(kuberay, path):
    with pytest.raises(REFUSALS):
        kuberay.validate(with_typo(documents("kuberay/rayjob.yaml")[0], path))


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "gcsFaultToleranceOptions", "redisPassword", "valueFrom"),
        ("spec", "autoscalerOptions", "idleTimeoutSeconds"),
        ("spec", "workerGroupSpecs", 0, "maxReplicas"),
        ("spec", "workerGroupSpecs", 0, "template", "spec", "tolerations", 0, "operator"),
    ],
    ids=lambda path: str(path[-1]),
)
def test_a_typo_in_the_raycluster_is_refused(kuberay, path):
    with pytest.raises(REFUSALS):
        kuberay.validate(with_typo(documents("kuberay/raycluster.yaml")[0], path))


CORE = [
    document
    for name in ("kuberay/raycluster.yaml", "kuberay/volume.yaml")
    for document in documents(name)
    if document["apiVersion"] != "ray.io/v1"
]


@pytest.mark.parametrize("document", CORE, ids=lambda document: document["kind"])
def test_kubernetes_accepts_what_stands_beside(document):
    validate_core(document)
    with pytest.raises(kubernetes_validate.ValidationError):
        validate_core(with_typo(document, ("spec",)))


@pytest.mark.parametrize("name", ["kuberay/rayjob.yaml", "kuberay/raycluster.yaml"])
def test_every_pod_can_train_save_and_be_watched(name):
    document = documents(name)[0]
    head, *workers = pod_templates(document)
    spec = document["spec"].get("rayClusterSpec", document["spec"])

    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(head["spec"]["containers"][0]["resources"])
    assert any("nvidia.com/gpu" in str(each) for each in workers)
    for template in (head, *workers):
        pod, (container,) = template["spec"], template["spec"]["containers"]
        assert pod["terminationGracePeriodSeconds"] >= 120 + ScaleConfig().grace_s
        assert pod["securityContext"]["runAsNonRoot"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert "persistentVolumeClaim" in volumes[mounted["/data"]]


def test_the_cluster_that_stays_grows_and_survives_its_head():
    spec = documents("kuberay/raycluster.yaml")[0]["spec"]
    names = {(each["kind"], each["metadata"]["name"]) for each in CORE}

    assert spec["enableInTreeAutoscaling"]
    assert all(g["minReplicas"] < g["maxReplicas"] for g in spec["workerGroupSpecs"])
    (told,) = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    assert told["name"] == ADDED_MACHINES
    assert json.loads(told["value"]) == [added(group) for group in spec["workerGroupSpecs"]]
    host, port = re.fullmatch(
        r"redis://(.+):(\d+)", spec["gcsFaultToleranceOptions"]["redisAddress"]
    ).groups()
    assert ("Service", host) in names
    assert port == "6379"


def added(group: dict[str, Any]) -> dict[str, int]:
    """A worker group as CYCLEGAN_ADDED_MACHINES tells it."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    gpus = {"GPU": int(limits["nvidia.com/gpu"])} if "nvidia.com/gpu" in limits else {}
    return {"count": group["maxReplicas"], "CPU": int(limits["cpu"])} | gpus


def test_the_file_for_ray_up_tells_what_it_grows_to():
    file = documents("ray/cluster.yaml")[0]
    (told,) = re.findall(ADDED_MACHINES + "='(.+?)'", file["head_start_ray_commands"][1])
    gpu = file["available_node_types"]["gpu"]

    assert json.loads(told) == [{"count": gpu["max_workers"], **gpu["resources"]}]


def test_both_manifests_run_the_same_pods():
    job, cluster = documents("kuberay/rayjob.yaml")[0], documents("kuberay/raycluster.yaml")[0]
    spot = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["tolerations"]
    del spot[1:]
    del pod_templates(cluster)[0]["spec"]["containers"][0]["env"]

    assert pod_templates(job) == pod_templates(cluster)[:2]


@pytest.mark.parametrize("name", ["rayjob", "raycluster"])
def test_the_manifests_name_the_ray_of_the_constraints(name):
    document = documents(f"kuberay/{name}.yaml")[0]
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert spec["rayVersion"] == pinned == version("ray")


@pytest.mark.parametrize("name", ["cluster", "on-premise"])
def test_ray_up_accepts_the_file(name):
    validate_ray_up(documents(f"ray/{name}.yaml")[0])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cluster", ("max_workers",)),
        ("cluster", ("available_node_types", "gpu", "max_workers")),
        ("cluster", ("docker", "image")),
        ("on-premise", ("head_start_ray_commands",)),
        ("on-premise", ("auth", "ssh_user")),
    ],
)
def test_a_typo_in_a_ray_up_file_is_refused(name, path):
    with pytest.raises((jsonschema.ValidationError, AssertionError, ValueError)):
        validate_ray_up(with_typo(documents(f"ray/{name}.yaml")[0], path))


def refusal_of_aws(node_config: dict[str, Any]) -> str:
    """What Amazon's own description of `RunInstances` has against a machine; empty if nothing."""
    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    return str(
        ParamValidator()
        .validate({**node_config, "MinCount": 1, "MaxCount": 1}, shape)
        .generate_report()
    )


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_aws_knows_every_field_of_a_machine(kind):
    node = documents("ray/cluster.yaml")[0]["available_node_types"][kind]["node_config"]

    assert refusal_of_aws(node) == ""
    assert "Unknown parameter" in refusal_of_aws(with_typo(node, ("BlockDeviceMappings",)))
    assert "Unknown parameter" in refusal_of_aws(
        with_typo(node, ("BlockDeviceMappings", 0, "Ebs", "VolumeSize"))
    )


@pytest.mark.parametrize("name", ["cluster", "on-premise"])
def test_every_ray_that_ray_up_starts_has_a_token_and_a_dashboard_on_loopback(name):
    config = documents(f"ray/{name}.yaml")[0]
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]

    assert all("RAY_AUTH_MODE=token ray start" in command for command in (head, worker))
    assert "--dashboard-host=127.0.0.1" in head
    assert "~/.ray/auth_token" in config["file_mounts"]


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_bash_and_shellcheck_have_nothing_against_a_script(script, tmp_path):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck (tests/apt.txt)")
    subprocess.run(["shellcheck", "--shell=bash", ROOT / script], check=True)

    typo = tmp_path / "typo.sh"
    typo.write_text((ROOT / script).read_text() + "\nif [ $undefined = 1 ]; then\n  exit\n")
    assert subprocess.run(["bash", "-n", typo], capture_output=True, check=False).returncode
    typo.write_text((ROOT / script).read_text() + "\nrm $typo_in_a_name\n")
    assert subprocess.run(["shellcheck", typo], capture_output=True, check=False).returncode


def test_hadolint_has_nothing_against_the_image(tmp_path):
    # DL3008 wants versions of Debian's packages; they would be gone with the next security fix.
    hadolint = [str(Path(sys.executable).parent / "hadolint"), "--ignore", "DL3008"]
    text = (CLUSTER / "Dockerfile").read_text()
    subprocess.run([*hadolint, CLUSTER / "Dockerfile"], check=True)

    for right, typo in (("WORKDIR /app", "WORKDIRR /app"), ("USER 1000:1000", "USER root")):
        wrong = tmp_path / "Dockerfile"
        wrong.write_text(text.replace(right, typo))
        assert subprocess.run([*hadolint, wrong], capture_output=True, check=False).returncode


def test_the_image_is_made_from_what_is_sent_to_docker():
    lines = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and line[0] not in "# "]
    copied = [
        source
        for word, rest in instructions
        if word == "COPY"
        for source in rest.split()[:-1]
        if not source.startswith("--")
    ]
    text = " ".join(rest for _, rest in instructions)

    assert all((ROOT / source).exists() for source in copied)
    assert {*copied} - {"."} == sent_to_docker({*copied} - {"."})
    assert sent_to_docker([".git/config", ".venv/bin/ray", "tests/conftest.py"]) == set()
    assert "-c constraints.txt torch" in text
    assert [rest for word, rest in instructions if word == "USER"] == ["1000:1000"]
    assert "g++" in text
    assert "HEALTHCHECK" in [word for word, _ in instructions]
    command = next(rest for word, rest in instructions if word == "CMD")
    assert json.loads(command)[0] == "python"
