"""What KubeRay, Kubernetes and Ray accept in their files: an unknown name is an error."""

from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

SCANNER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KUBERNETES = "1.34"


class Kuberay:
    """KubeRay's own descriptions of its objects, as strict JSON Schemas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schemas: dict[str, Any] = {}

    def validate(self, manifest: dict[str, Any]) -> None:
        """Raise jsonschema's ValidationError for what KubeRay would refuse or ignore."""
        kind = manifest["kind"]
        if kind not in self.schemas:
            path = self.folder / f"ray.io_{kind.lower()}s.yaml"
            if not path.exists():
                pytest.skip(f"needs KubeRay's CRD {path}, which is not on this machine")
            versions = yaml.load(path.read_text(), SCANNER)["spec"]["versions"]
            (schema,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
            schema["properties"]["metadata"] = {"type": "object"}
            self.schemas[kind] = strict(schema)
        assert manifest["apiVersion"] == "ray.io/v1"
        jsonschema.Draft202012Validator(self.schemas[kind]).validate(manifest)
        for template in pod_templates(manifest):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, **template}
            validate_core(pod)


def pod_templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of a RayJob or RayCluster, the head's first."""
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"] for group in groups]


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


def validate_core(manifest: dict[str, Any]) -> None:
    """Raise kubernetes_validate's ValidationError for an object of Kubernetes itself."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def validate_ray_up(config: dict[str, Any]) -> None:
    """Raise for what `ray up` would refuse."""
    validate_config(prepare_config(config))
