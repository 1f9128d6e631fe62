"""Describe a model in annotations of its object, from which a client can be created again."""

from __future__ import annotations

import json
from typing import Any

from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import OUTPUT_PREFIX, OutputForm, Signature

MANAGED_BY = "app.kubernetes.io/managed-by"
LABELS = {"seldon.io/tempo": "true"}
DESCRIPTION = "seldon.io/tempo-description"
MODEL = "seldon.io/tempo-model"
DIGEST = "seldon.io/tempo-artifact-digest"
IN_MEMORY = "states_in_memory"  # in `MODEL`: pipelines whose state is in the memory of a process
# By these labels and annotations we recognise our objects, which may be replaced or deleted.
KEPT = frozenset({MANAGED_BY, *LABELS, DESCRIPTION, MODEL, DIGEST})


def annotations_of(model: DeployedModel, target: str, namespace: str) -> dict[str, str]:
    """Return the annotations of the object that represents a model.

    Args:
        model: The model.
        target: The platform.
        namespace: Its namespace.
    """
    details: dict[str, Any] = {
        "model_details": {
            "name": model.name,
            "uri": model.uri,
            "platform": model.platform.value,
            "inputs": list(model.inputs) if model.signed else None,
            "outputs": list(model.outputs) if model.signed else None,
            "streams": model.streams,
            "description": model.description,
        },
        "runtime_options": {"target": target, "namespace": namespace},
    }
    if model.in_memory:  # for the rule of lint
        details[IN_MEMORY] = list(model.in_memory)
    return {DESCRIPTION: model.description, MODEL: json.dumps(details, sort_keys=True)}


def details_of(annotation: str) -> ModelDetails:
    """Return the model that an annotation describes, with the types that V2 metadata can express.

    Args:
        annotation: Value of the annotation `MODEL` of a deployed object.

    Raises:
        DeploymentFailed: If this package did not write it.
    """
    try:
        content = json.loads(annotation)["model_details"]
        signature = None
        if content["inputs"] is not None:
            signature = _signature(content["inputs"], content["outputs"], content["streams"])
        return ModelDetails(
            content["name"],
            ModelFramework(content["platform"]),
            uri=content["uri"],
            description=content["description"],
            signature=signature,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DeploymentFailed(
            f"the annotation {MODEL} was not written by this version of tempo_runtime; deploy the model "
            "again"
        ) from error


def _signature(inputs: Any, outputs: Any, streams: bool) -> Signature:
    results = tuple(map(codec.spec_described, outputs))
    names = [spec.name for spec in results]
    form: OutputForm
    if not results:
        form = "dynamic"
    elif names == [f"{OUTPUT_PREFIX}0"]:
        form = "single"
    elif names == [f"{OUTPUT_PREFIX}{i}" for i in range(len(names))]:
        form = "tuple"
    else:
        form = "named"
    container = dict if form == "named" else None
    return Signature(tuple(map(codec.spec_described, inputs)), results, form, container, streams)
