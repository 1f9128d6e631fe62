"""Run the jobs on standard input with tritonclient over gRPC; see `foreign.py`.

In a process of its own: its messages have the names of MLServer's, and protobuf takes only one of each.
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import tritonclient.grpc as triton
import values
from tritonclient.utils import np_to_triton_dtype


def infer(client: Any, model: str, inputs: Any, parameters: Any = None) -> Any:
    """The outputs of a model, by name."""
    answer = client.infer(model, _inputs(inputs), parameters=parameters)
    names = [output.name for output in answer.get_response().outputs]
    return {name: answer.as_numpy(name) for name in names}


def stream(client: Any, model: str, inputs: Any) -> Any:
    """The first thing that a stream gives: a result, or an error's text."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(result or str(error)))
    client.async_stream_infer(model, _inputs(inputs))
    first = answers.get(timeout=60)
    client.stop_stream()
    return first


def describe(client: Any, model: str) -> Any:
    """Name, platform, and name, datatype and shape of the outputs."""
    assert client.is_server_live()
    assert client.is_model_ready(model)
    said = client.get_model_metadata(model)
    outputs = [(each.name, each.datatype, list(each.shape)) for each in said.outputs]
    return said.name, said.platform, outputs


def _inputs(inputs: dict[str, Any]) -> list[Any]:
    given = []
    for name, value in inputs.items():
        given.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        given[-1].set_data_from_numpy(value)
    return given


answers = []
with triton.InferenceServerClient(sys.argv[1]) as client:
    for job in json.load(sys.stdin):
        job = values.load(job)
        try:
            answers.append({"value": values.dump(globals()[job.pop("do")](client, **job))})
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
json.dump(answers, sys.stdout)
