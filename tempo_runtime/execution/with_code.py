"""Serve a framework's model with what the framework's own runtime does not know.

That is the code of the calling pipeline, with which the model is unpickled, and, if there is a demand,
a checked copy of the model's files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from mlserver import MLModel, ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

from tempo_runtime._util.private_copies import PrivateCopy
from tempo_runtime.artifact import declaration, importing, store, trust, verification


class ModelWithCode(MLModel):
    """Serves a model with the runtime of its framework.

    Settings from `declaration.with_code` name the code that the model is unpickled with, and settings
    from `declaration.with_copy` the files that are checked and copied before the model is opened.
    """

    _code: importing.Modules | None = None
    _copy: PrivateCopy | None = None
    _model: MLModel | None = None

    async def load(self) -> bool:
        """Load the model."""
        assert self.settings.parameters is not None
        assert self.settings.parameters.extra is not None
        extra = dict(self.settings.parameters.extra)
        own = extra.pop(declaration.CODE)
        inner: ModelSettings = self.settings.model_copy(
            update={"implementation_": own["implementation"]}
        )
        uri = self.settings.parameters.uri
        if place := own.get("place"):
            demands = trust.TrustPolicy.of_environment().and_(trust.TrustPolicy.of_settings(extra))
            self._copy = await asyncio.to_thread(verification.copy_model, place, demands)
            uri = _moved(uri, place, self._copy.place)
            # A class that lies beside the settings is imported from there.
            inner._source = os.path.join(self._copy.folder, store.MODEL_SETTINGS)
            del extra[trust.EXPECTED_DIGEST_SETTING]
        changed: dict[str, Any] = {"uri": uri, "extra": extra}
        inner.parameters = self.settings.parameters.model_copy(update=changed)
        if folder := own.get("artifact"):
            digest = own.get("artifact_digest")
            expected = trust.TrustPolicy((digest,)) if digest else None
            self._code = await asyncio.to_thread(store.code_of, folder, expected)
        with importing.running(self._code):
            self._model = inner.implementation(inner)
            loaded: bool = await self._model.load()
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        return loaded

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        assert self._model is not None
        with importing.running(self._code):
            return await self._model.predict(payload)

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answer requests item by item."""
        assert self._model is not None
        async for response in self._model.predict_stream(payloads):
            yield response

    async def unload(self) -> bool:
        """Free the model, the code and the copy."""
        unloaded = True
        if self._model is not None:
            unloaded = await self._model.unload()
        if self._code is not None:
            self._code.forget()
        self._copy = None
        return unloaded


def _moved(path: str, place: str, new_place: str) -> str:
    """Return the path below `new_place` that corresponds to `path` below `place`."""
    return os.path.normpath(os.path.join(new_place, os.path.relpath(path, place)))
