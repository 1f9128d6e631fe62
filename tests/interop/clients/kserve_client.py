"""Run the jobs on standard input with KServe's own clients; see `foreign.py`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import values
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, RESTConfig

DATATYPES = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "i8": "INT64", "u1": "UINT8", "b1": "BOOL"}


async def main() -> None:
    """Runs the jobs, with one client for each transport."""
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers = []
    for job in json.load(sys.stdin):
        job = values.load(job)
        try:
            answers.append({"value": values.dump(await infer(rest, **job))})
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
    await rest.close()
    json.dump(answers, sys.stdout)


async def infer(
    rest: Any,
    url: str,
    model: str,
    inputs: dict[str, Any],
    parameters: dict[str, Any],
    binary: bool,
) -> dict[str, Any]:
    """The outputs of a model, by name, as arrays."""
    given = [_input(name, value, binary) for name, value in inputs.items()]
    request = InferRequest(model, given, parameters=parameters or None)
    if url.startswith("http"):
        answer = await rest.infer(url, request, model_name=model)
    else:
        client = InferenceGRPCClient(url)
        answer = await client.infer(request)
        await client.close()
    return {output.name: _plain(output.as_numpy()) for output in answer.outputs}


def _input(name: str, value: Any, binary: bool) -> Any:
    datatype = DATATYPES.get(value.dtype.str[1:], "BYTES")
    given = InferInput(name, list(value.shape), datatype)
    if datatype == "BYTES":
        value = np.char.encode(value, "utf-8").astype(object)
    given.set_data_from_numpy(value, binary_data=binary)
    return given


def _plain(array: Any) -> Any:
    texts = [each.decode() if isinstance(each, bytes) else each for each in array.ravel().tolist()]
    return np.array(texts).reshape(array.shape) if array.dtype == object else array


asyncio.run(main())
