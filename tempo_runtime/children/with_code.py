"""A model of a framework, served beside a pipeline whose code it is unpickled with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from mlserver import MLModel, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

from tempo_runtime import artifact, describing, importing


class ModelWithCode(MLModel):
    """Serves a model with the runtime of its framework; `describing.with_code` says whose code."""

    _code: importing.Modules | None = None
    _model: MLModel | None = None

    async def load(self) -> bool:
        """Loads the model."""
        assert self.settings.parameters is not None
        assert self.settings.parameters.extra is not None
        extra = dict(self.settings.parameters.extra)
        own = extra.pop(describing.CODE)
        parameters = self.settings.parameters.model_copy(update={"extra": extra})
        inner: ModelSettings = self.settings.model_copy(
            update={"implementation_": own["implementation"], "parameters": parameters}
        )
        self._code = await asyncio.to_thread(artifact.code_of, own["artefact"])
        with importing.running(self._code):
            self._model = inner.implementation(inner)
            loaded: bool = await self._model.load()
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        return loaded

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one request."""
        assert self._model is not None
        with importing.running(self._code):
            return await self._model.predict(payload)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answers requests item by item."""
        assert self._model is not None
        async for response in self._model.predict_stream(payloads):
            yield response

    async def unload(self) -> bool:
        """Frees the model, and the code."""
        unloaded = True
        if self._model is not None:
            unloaded = await self._model.unload()
        if self._code is not None:
            self._code.forget()
        return unloaded
