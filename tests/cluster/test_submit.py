"""What is sent to a cluster is what its software accepts, and runs the command to the letter."""

import json
import shlex
import subprocess
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.__main__ import main, split
from cluster.submit import Machines, ray_command, render
from data_prep.errors import ExitCode, UsageError

# Quotes, blanks, braces and dollars: what a template or a shell may trip over.
COMMAND = ["python", "-m", "cyclegan.train", "demo", "--run.name", 'it\'s {{a}} "$HOME" <b> & c']
SCANNER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@pytest.fixture(scope="module")
def rayjob(shared: Path) -> dict[str, Any]:
    """KubeRay's own description of a RayJob, as a strict JSON Schema."""
    path = shared.parent / "kuberay-crds" / "ray.io_rayjobs.yaml"
    if not path.exists():
        pytest.skip(f"needs KubeRay's CRD {path}, which is not on this machine")
    versions = yaml.load(path.read_text(), SCANNER)["spec"]["versions"]
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
    schema["properties"]["metadata"] = {"type": "object"}
    return strict(schema)


def strict(node: Any) -> Any:
    """Kubernetes drops what it does not know; here that is an error."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: strict(value) for name, value in node.items()}
    if node.pop("x-kubernetes-int-or-string", False):
        node.pop("type", None)
        return node | {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if isinstance(node.get("properties"), dict) and not node.get(
        "x-kubernetes-preserve-unknown-fields"
    ):
        node["additionalProperties"] = False
    return node


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_rayjob_is_what_kuberay_accepts(rayjob, gpus):
    machines = Machines(image="registry/cyclegan:1", nodes=3, gpus_per_node=gpus)

    job = yaml.safe_load(render("kuberay", machines, COMMAND))

    jsonschema.Draft202012Validator(rayjob).validate(job)
    assert shlex.split(job["spec"]["entrypoint"]) == COMMAND
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["replicas"] == 3
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (str(gpus) if gpus else None)


@pytest.mark.parametrize(
    ("path", "typo"),
    [
        (("spec",), "shutDownAfterJobFinishes"),
        (("spec", "rayClusterSpec"), "authOption"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec"), "volume"),
    ],
)
def test_the_schema_catches_a_typo_in_the_template(rayjob, path, typo):
    job = yaml.safe_load(render("kuberay", Machines(image="a"), COMMAND))
    wrong = deepcopy(job)
    node = wrong
    for name in path:
        node = node[name]
    node[typo] = True

    with pytest.raises(jsonschema.ValidationError, match=typo):
        jsonschema.Draft202012Validator(rayjob).validate(wrong)


def test_a_rayjob_asks_for_tokens_and_the_installed_ray():
    job = yaml.safe_load(render("kuberay", Machines(image="a"), COMMAND))

    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")


def test_a_rayjob_without_an_image_is_refused():
    with pytest.raises(UsageError, match="--image"):
        render("kuberay", Machines(), COMMAND)


@pytest.mark.parametrize("gpus", [0, 8])
def test_the_batch_script_is_bash_and_holds_the_command(gpus):
    script = render("slurm", Machines(nodes=4, gpus_per_node=gpus), COMMAND)

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    last = script.splitlines()[-1]
    assert shlex.split(last)[-len(COMMAND) :] == COMMAND
    assert "#SBATCH --nodes=4\n" in script
    assert ("#SBATCH --gpus-per-node" in script) == bool(gpus)


def test_the_line_for_a_shell_holds_the_command_and_leaves_git_out():
    words = shlex.split(ray_command(COMMAND, "http://127.0.0.1:8265"))

    assert words[:5] == ["ray", "job", "submit", "--address", "http://127.0.0.1:8265"]
    assert json.loads(words[6]) == {"working_dir": ".", "excludes": [".git"]}
    assert words[7:] == ["--", *COMMAND]


@pytest.mark.parametrize(
    ("target", "begins"),
    [("ray", "ray job submit"), ("kuberay", "# A RayJob"), ("slurm", "#!/usr/bin/env bash")],
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
