"""Prepare MLServer's own server before it loads a model: its routes, and the limit of heads.

MLServer has no settings for these, and a model does not know its server. But in the process that serves,
MLServer adds the routes of each model before it loads the model, by a method that it looks up each time.
"""

from __future__ import annotations

from mlserver import MLModel
from mlserver.rest.server import RESTServer

from tempo_runtime.errors import SettingsError
from tempo_runtime.runtime import (
    browser_requests,
    inference_route,
    openapi_route,
    page_route,
    plain_route,
    request_head,
)
from tempo_runtime.runtime.error_mapping import as_mlserver_error
from tempo_runtime.runtime.parallel import is_pipeline
from tempo_runtime.settings import ServerSettings

_add_custom_handlers = RESTServer.add_custom_handlers


def install() -> None:
    """Put our routes into each server of this process, and give its data plane to its pipelines.

    It also refuses requests with a head that is too large, and those of other sites' forms.
    """
    request_head.install()
    RESTServer.add_custom_handlers = _prepare


async def _prepare(server: RESTServer, model: MLModel) -> MLModel:
    inference_route.extend(server)
    plain_route.extend(server)
    openapi_route.extend(server)
    if is_pipeline(model):
        model.data_plane = server._data_plane
    model = await _add_custom_handlers(server, model)
    try:
        settings = ServerSettings.read()
    except SettingsError as error:
        raise as_mlserver_error(error) from error
    if settings.page:
        page_route.extend(server)
    browser_requests.extend(server, settings.page_hosts if settings.page else None)
    return model
