"""Prepare MLServer's own server before it loads a model: for binary data and for its pipelines.

MLServer has no setting for either, and a model does not know its server. But in the process that serves,
MLServer adds the routes of each model before it loads the model, by a method that it looks up each time.
"""

from __future__ import annotations

from mlserver import MLModel
from mlserver.rest.server import RESTServer

from tempo_runtime.runtime import binary_http
from tempo_runtime.runtime.parallel import is_pipeline

_add_custom_handlers = RESTServer.add_custom_handlers


def install() -> None:
    """Make each server in this process take binary data, and give its data plane to its pipelines."""
    RESTServer.add_custom_handlers = _prepare


async def _prepare(server: RESTServer, model: MLModel) -> MLModel:
    binary_http.extend(server)
    if is_pipeline(model):
        model.data_plane = server._data_plane
    return await _add_custom_handlers(server, model)
