"""The files for Kubernetes have only fields that KubeRay's resource definitions know, with values that they take.

The definitions are those of KubeRay's Helm chart (`helm-chart/kuberay-operator/crds`). The environment variable
KUBERAY_CRDS names a directory with them.
"""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
DIRECTORY = os.environ.get("KUBERAY_CRDS")
FILES = ("rayservice.yaml", "rayjob.yaml")

pytestmark = pytest.mark.skipif(not DIRECTORY, reason="KUBERAY_CRDS names no directory with KubeRay's definitions")


def _read_schema(resource: dict[str, Any]) -> Any:
    """Return the schema of a resource, from the definition of its kind and version."""
    group, version = resource["apiVersion"].split("/")
    definition = _read_definition(f"{group}_{resource['kind'].lower()}s.yaml")
    (found,) = [each for each in definition["spec"]["versions"] if each["name"] == version]
    return _forbid_unknown_fields(found["schema"]["openAPIV3Schema"])


@functools.cache
def _read_definition(name: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((Path(DIRECTORY or "") / name).read_text(), loader)  # noqa: S506 - both loaders are safe


def _forbid_unknown_fields(schema: Any) -> Any:
    """Return a schema that refuses fields that it does not name, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [_forbid_unknown_fields(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _forbid_unknown_fields(each) for name, each in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        strict["additionalProperties"] = False
    return strict


def _list_errors(resource: dict[str, Any]) -> list[str]:
    errors = Draft202012Validator(_read_schema(resource)).iter_errors(resource)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _read(name: str) -> dict[str, Any]:
    resource: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / name).read_text())
    return resource


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_as_kuberay_defines_it(name: str) -> None:
    assert _list_errors(_read(name)) == []


def test_a_misspelt_field_and_a_value_of_another_type_are_found() -> None:
    service = _read("rayservice.yaml")
    cluster = service["spec"]["rayClusterConfig"]
    cluster["workerGroupSpecs"][0]["maxReplica"] = 4
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["volumeMount"] = container.pop("volumeMounts")
    cluster["enableInTreeAutoscaling"] = "yes"
    errors = "\n".join(_list_errors(service))
    assert "'maxReplica' was unexpected" in errors
    assert "'volumeMount' was unexpected" in errors
    assert "enableInTreeAutoscaling: 'yes' is not of type 'boolean'" in errors
