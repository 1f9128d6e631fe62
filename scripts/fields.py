"""fields.py FOLDER: write tempo_runtime/lint/fields.json from custom resource definitions.

FOLDER holds the CustomResourceDefinitions of Seldon Core 1 and 2 and of KServe, one in each file, as
the platforms publish them (`config/crd` of their operators). Only the names of fields are used.

Equal parts, such as the pod spec in each component, are stored once: `nodes` are mappings of a field to
the number of its node, `*` stands for any field, and the content of node 0 is not checked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parents[1] / "tempo_runtime/lint/fields.json"
# Of Kubernetes itself: ObjectMeta, and a Secret.
OWNER = ("apiVersion", "blockOwnerDeletion", "controller", "kind", "name", "uid")
METADATA = (
    *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp"),
    *("finalizers", "generateName", "generation", "labels", "managedFields", "name", "namespace"),
    *("resourceVersion", "selfLink", "uid"),
)
SECRET = ("apiVersion", "data", "immutable", "kind", "stringData", "type")


class Nodes:
    """Nodes without duplicates."""

    def __init__(self) -> None:
        self.all: list[Any] = [None]
        self._numbers: dict[str, int] = {}

    def add(self, fields: dict[str, int]) -> int:
        """Return the number of a node, adding the node if it is new."""
        key = json.dumps(fields, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.all)
            self.all.append(dict(sorted(fields.items())))
        return self._numbers[key]

    def of(self, schema: dict[str, Any]) -> int:
        """Return the number of a schema's node."""
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return 0
        if isinstance(items := schema.get("items"), dict):
            return self.of(items)
        if isinstance(values := schema.get("additionalProperties"), dict):
            inner = self.of(values)
            return self.add({"*": inner}) if inner else 0
        fields = schema.get("properties")
        return self.add({name: self.of(each) for name, each in fields.items()}) if fields else 0


def main(folder: str) -> None:
    """Write the file."""
    from mlserver.settings import ModelSettings

    nodes = Nodes()
    metadata = nodes.add(
        dict.fromkeys(METADATA, 0) | {"ownerReferences": nodes.add(dict.fromkeys(OWNER, 0))}
    )
    kinds = {"Secret": nodes.add({**dict.fromkeys(SECRET, 0), "metadata": metadata})}
    for path in sorted(Path(folder).glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        [schema] = [each["schema"]["openAPIV3Schema"] for each in spec["versions"]]
        fields = {name: nodes.of(each) for name, each in schema["properties"].items()}
        kinds[spec["names"]["kind"]] = nodes.add({**fields, "metadata": metadata, "status": 0})
    kinds["ClusterServingRuntime"] = kinds["ServingRuntime"]
    kinds["model-settings.json"] = nodes.add(
        {name.rstrip("_"): 0 for name in ModelSettings.model_fields}
    )
    content = {"kinds": dict(sorted(kinds.items())), "nodes": nodes.all}
    TARGET.write_text(json.dumps(content, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
