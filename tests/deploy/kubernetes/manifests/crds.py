"""Check manifests as a cluster does, with the schemas of its custom resources."""

from __future__ import annotations

import functools
import lzma
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempo_runtime.lint import lint

ROOT = Path(__file__).resolve().parents[4]
CRDS = ROOT / "tests" / "data" / "crds"
# Definitions whose licence keeps them out of the repository, where a checkout has them beside it.
MORE_CRDS = ROOT.parent / "shared" / "data" / "crds"
FILES = {
    "SeldonDeployment": "machinelearning.seldon.io_seldondeployments",
    "Model": "mlops.seldon.io_models",
    "Server": "mlops.seldon.io_servers",
    "InferenceService": "serving.kserve.io_inferenceservices",
    "ServingRuntime": "serving.kserve.io_servingruntimes",
}
_NAMES = ("field-case", "field-unknown")


def faults(document: dict[str, Any]) -> list[str]:
    """Return the faults of an object, including unknown fields; empty for Kubernetes' own objects.

    Without a kind's schema, only the names of its fields are checked.
    """
    if document["kind"] not in FILES:
        return []
    validator = _validator(document["kind"], document["apiVersion"])
    if validator is None:
        return [each.message for each in lint(yaml.safe_dump(document)) if each.rule in _NAMES]
    return [
        f"{'.'.join(map(str, each.instance_path))}: {each.message}"
        for each in validator.iter_errors(document)
    ]


@functools.cache
def _validator(kind: str, api: str) -> Any:
    text = _definition(f"{FILES[kind]}.yaml")
    if text is None:
        return None
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="it comes with the extra `test`")
    crd = yaml.load(text, _loader())
    group, _, version = api.partition("/")
    assert (crd["spec"]["group"], crd["spec"]["names"]["kind"]) == (group, kind)
    [served] = [each for each in crd["spec"]["versions"] if each["name"] == version]
    assert served["served"]
    return jsonschema_rs.Draft7Validator(_strict(served["schema"]["openAPIV3Schema"]))


def _definition(name: str) -> str | None:
    if (CRDS / f"{name}.xz").is_file():
        return lzma.decompress((CRDS / f"{name}.xz").read_bytes()).decode()
    return (MORE_CRDS / name).read_text() if (MORE_CRDS / name).is_file() else None


def _strict(schema: Any) -> Any:
    """A structural schema as JSON Schema, in which what is not named is refused."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(value) for name, value in schema.items()}
    fields = found.get("properties")
    is_open = found.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(fields, dict) and found.get("type") == "object" and not is_open:
        found.setdefault("additionalProperties", False)
    if found.get("nullable") is True:
        found = {"anyOf": [{"type": "null"}, found]}
    return found


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the schemas are long
