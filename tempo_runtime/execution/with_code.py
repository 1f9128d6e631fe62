"""Serve a framework's model with code or files that the framework's runtime does not provide.

These are the code of the calling pipeline, with which the model is unpickled, and, if a digest or
signature is demanded, a verified copy of the model's files.
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

    Settings from `declaration.with_code` name the code that unpickles the model. Settings from
    `declaration.with_copy` name the files to verify and copy before the model is opened.
    """

    _code: importing.Modules | None = None
    _copy: PrivateCopy | None = None
    _model: MLModel | None = None

    async def load(self) -> bool:
        """Load the model."""
        assert self.settings.parameters is not None
        assert self.settings.parameters.extra is not None
        extra = dict(self.settings.parameters.extra)
        added = extra.pop(declaration.CODE)
        inner: ModelSettings = self.settings.model_copy(
            update={"implementation_": added["implementation"]}
        )
        uri = self.settings.parameters.uri
        if place := added.get("place"):
            demands = trust.TrustPolicy.of_environment().and_(trust.TrustPolicy.of_settings(extra))
            self._copy = await asyncio.to_thread(verification.copy_model, place, demands)
            uri = _moved(uri, place, self._copy.place)
            # A class beside the settings is imported from the copy.
            inner._source = os.path.join(self._copy.folder, store.MODEL_SETTINGS)
            del extra[trust.EXPECTED_DIGEST_SETTING]
        changed: dict[str, Any] = {"uri": uri, "extra": extra}
        inner.parameters = self.settings.parameters.model_copy(update=changed)
        if folder := added.get("artifact"):
            digest = added.get("artifact_digest")
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
        """Answer each request with a stream of items."""
        assert self._model is not None
        async for response in self._model.predict_stream(payloads):
            yield response

    async def unload(self) -> bool:
        """Release the model, the code and the copy."""
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
