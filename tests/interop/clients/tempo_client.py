"""Run the jobs on standard input with tempo 0.5's own code; see `foreign.py`."""

from __future__ import annotations

import json
import sys
from pydoc import locate
from typing import Any

import values
from tempo.protocols.v2 import V2Protocol
from tempo.serve.args import process_datatypes
from tempo.serve.base import ClientModel, ModelSpec
from tempo.serve.metadata import ClientDetails, DockerOptions, ModelDetails, ModelFramework


def write(args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The request it writes."""
    return V2Protocol().to_protocol_request(*args, **kwargs)


def call(url: str, outputs: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Return its value of a model's answer, whose outputs are declared by the names of types."""
    inputs, outputs = process_datatypes("numpy.ndarray", _types(outputs))
    details = ModelDetails(
        name="model",
        local_folder="",
        uri="",
        platform=ModelFramework.Custom,
        inputs=inputs,
        outputs=outputs,
    )
    spec = ModelSpec(model_details=details, protocol=V2Protocol(), runtime_options=DockerOptions())
    where = ClientDetails(url=url, headers={}, verify_ssl=False)
    return ClientModel(spec, where).predict(*args, **kwargs)


def _types(names: Any) -> Any:
    if isinstance(names, tuple):
        return tuple(locate(name) for name in names)
    if isinstance(names, dict):
        return {key: locate(name) for key, name in names.items()}
    return locate(names)


answers = []
for job in json.load(sys.stdin):
    job = values.load(job)
    try:
        answers.append({"value": values.dump(globals()[job.pop("do")](**job))})
    except Exception as error:
        answers.append({"error": f"{type(error).__name__}: {error}"})
json.dump(answers, sys.stdout)
