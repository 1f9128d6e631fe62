"""Serve scikit-learn models by themselves, with the exact fast evaluation where it is proved."""

from __future__ import annotations

import asyncio
import logging

import mlserver_sklearn  # type: ignore[import-untyped]
from pydantic import TypeAdapter, ValidationError

from tempo_runtime.errors import SettingsError
from tempo_runtime.execution.sklearn_fast import evaluate
from tempo_runtime.execution.sklearn_fast.base import NoFastPath

SETTING = "fast_sklearn"
# MLServer shows this logger's information, but only warnings of others.
logger = logging.getLogger("mlserver")
_OPTIONAL_BOOL: TypeAdapter[bool | None] = TypeAdapter(bool | None)


class SKLearnModel(mlserver_sklearn.SKLearnModel):  # type: ignore[misc]  # an untyped class
    """MLServer's scikit-learn runtime, whose model is computed fast if that gives the same answers.

    `fast_sklearn` in `parameters.extra` of the model is read as the setting of a child is: false leaves
    the model to scikit-learn, and true refuses a model that cannot be fast.
    """

    async def load(self) -> bool:
        """Load the model, and compare its fast evaluation with scikit-learn's."""
        loaded: bool = await super().load()
        fast = self._setting()
        try:
            evaluation = await asyncio.to_thread(evaluate, self._model, fast)
        except NoFastPath as error:
            raise SettingsError(
                f"model {self.name!r} cannot be loaded with `{SETTING}`: {error}; remove the setting"
            ) from error
        logger.info("model %r on this server is %s", self.name, evaluation)
        return loaded

    def _setting(self) -> bool | None:
        value = (getattr(self.settings.parameters, "extra", None) or {}).get(SETTING)
        try:
            return _OPTIONAL_BOOL.validate_python(value)
        except ValidationError:
            raise SettingsError(
                f"model {self.name!r}: `{SETTING}` in parameters.extra must be true or false, not "
                f"{value!r:.80}; correct it"
            ) from None
