"""A child in this process: an MLServer runtime, or another pipeline.

Both are called with tensors, as over a network, so that a call means the same on each transport;
arrays are handed over as they are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from tempo_runtime.binding import decode_arguments, encode_results
from tempo_runtime.details import ModelDetails, ModelFramework
from tempo_runtime.errors import ChildFailed, ChildUnavailable, SettingsError, TempoError
from tempo_runtime.portal import Portal
from tempo_runtime.runner import Runner
from tempo_runtime.wire import (
    Request,
    Response,
    from_mlserver,
    mlserver_parameters,
    to_mlserver_request,
)

if TYPE_CHECKING:
    from mlserver import MLModel, ModelSettings

_IMPLEMENTATIONS = {
    ModelFramework.SKLearn: "mlserver_sklearn.SKLearnModel",
    ModelFramework.XGBoost: "mlserver_xgboost.XGBoostModel",
    ModelFramework.LightGBM: "mlserver_lightgbm.LightGBMModel",
    ModelFramework.MLFlow: "mlserver_mlflow.MLflowRuntime",
    ModelFramework.HuggingFace: "mlserver_huggingface.HuggingFaceRuntime",
    ModelFramework.AlibiExplain: "mlserver_alibi_explain.AlibiExplainRuntime",
    ModelFramework.AlibiDetect: "mlserver_alibi_detect.AlibiDetectRuntime",
}
# Their `async def predict` awaits nothing, so it can be run to its end in the calling thread.
_NEVER_AWAIT = frozenset(
    _IMPLEMENTATIONS[framework]
    for framework in (
        ModelFramework.SKLearn,
        ModelFramework.XGBoost,
        ModelFramework.LightGBM,
        ModelFramework.MLFlow,
    )
)


class RuntimeTransport:
    """Calls an MLServer runtime in this process.

    Args:
        details: The child.
        folder: Folder of its artefact.
        implementation: Its runtime class; None for that of its framework.
        portal: Loop for a runtime that awaits.
    """

    def __init__(
        self, details: ModelDetails, folder: str, implementation: str | None, portal: Portal
    ) -> None:
        self._name = details.name
        self._portal = portal
        self._settings = _model_settings(details, folder, implementation)
        self._never_awaits = self._settings.implementation_ in _NEVER_AWAIT
        self._model = self._load()

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        if self._never_awaits:
            return await asyncio.to_thread(self.infer_blocking, request)
        return await self._portal.arun(self._infer(request))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        response: Response = self._finish(self._infer(request))
        return response

    async def close(self) -> None:
        """Unloads the runtime."""
        await self._model.unload()

    def _load(self) -> MLModel:
        try:
            model: MLModel = self._settings.implementation(self._settings)
            self._finish(model.load())
        except Exception as error:
            raise ChildUnavailable(
                f"child {self._name!r} cannot be loaded in this process with "
                f"{self._settings.implementation_}: {type(error).__name__}: {error}",
                model=self._name,
            ) from error
        return model

    async def _infer(self, request: Request) -> Response:
        from mlserver.context import model_context

        try:
            with model_context(self._settings):
                answer = await self._model.predict(to_mlserver_request(request))
        except TempoError:
            raise
        except Exception as error:
            raise ChildFailed(
                f"child {self._name!r} in this process raised {type(error).__name__}: {error}",
                model=self._name,
            ) from error
        return Response(
            [from_mlserver(output) for output in answer.outputs],
            mlserver_parameters(answer.parameters),
        )

    def _finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if not self._never_awaits:
            return self._portal.run(coroutine)
        try:
            coroutine.send(None)
        except StopIteration as finished:
            return finished.value
        coroutine.close()
        raise ChildFailed(
            f"child {self._name!r} in this process waits for something; use transport http",
            model=self._name,
        )


class PipelineTransport:
    """Calls another pipeline in this process."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._details = runner.pipeline.details

    async def infer(self, request: Request) -> Response:
        """See `Transport.infer`."""
        arguments = self._arguments(request)
        return self._response(await self._runner.run(arguments))

    def infer_blocking(self, request: Request) -> Response:
        """See `Transport.infer_blocking`."""
        arguments = self._arguments(request)
        return self._response(self._runner.run_blocking(arguments))

    async def close(self) -> None:
        """Waits for nothing: whoever calls this child is done."""
        await self._runner.close(0)

    def _arguments(self, request: Request) -> dict[str, Any]:
        return decode_arguments(
            self._runner.pipeline.signature, request.tensors, request.parameters
        )

    def _response(self, value: Any) -> Response:
        tensors, content_type = encode_results(self._runner.pipeline.signature, value)
        return Response(tensors, {} if content_type is None else {"content_type": content_type})


def _model_settings(
    details: ModelDetails, folder: str, implementation: str | None
) -> ModelSettings:
    from mlserver.settings import ModelParameters, ModelSettings

    own = os.path.join(folder, "model-settings.json")
    if implementation is None and os.path.isfile(own):
        from mlserver.repository.load import load_model_settings

        return load_model_settings(own)
    implementation = implementation or _IMPLEMENTATIONS.get(details.platform)
    if implementation is None:
        raise SettingsError(
            f"child {details.name!r} cannot run in this process: nothing is known to serve "
            f"{details.platform.value!r}; set its `implementation` to an MLServer runtime class, or "
            "its `url`"
        )
    settings = ModelSettings(
        name=details.name,
        implementation=implementation,
        parameters=ModelParameters(uri=os.path.abspath(folder)),
    )
    return settings
