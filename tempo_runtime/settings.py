"""What a deployment chooses: `parameters.extra` of model-settings.json, and the environment.

Values may be strings or JSON, because Seldon Core 2 hands over strings only. The environment wins,
field by field, so that one artefact serves in several places:

    TEMPO_RUNTIME_TIMEOUT=10
    TEMPO_RUNTIME_MODELS__SKLEARN__URL=http://income-sklearn:9000
    TEMPO_RUNTIME_MODELS='{"sklearn": {"transport": "in_process"}}'
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from tempo_runtime.errors import SettingsError

ENV_PREFIX = "TEMPO_RUNTIME_"
_ENV_SEPARATOR = "__"

Transport = Literal["in_process", "http", "grpc"]
_SCHEMES: dict[str, Transport] = {"http": "http", "https": "http", "grpc": "grpc", "grpcs": "grpc"}
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def transport_of(url: str) -> Transport:
    """The transport that a URL's scheme names."""
    return _SCHEMES[urlsplit(url).scheme]


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or " " in url:
        raise ValueError(
            f"a child's URL is {', '.join(f'{scheme}://HOST' for scheme in _SCHEMES)}, with a port "
            "if need be"
        )
    _ = parts.port  # raises ValueError if it is no port
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


def _parse_json(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error
    return value


class ChildSettings(BaseModel):
    """How one child is reached.

    Attributes:
        transport: `in_process`, `http` or `grpc`. By default what the URL's scheme says, and
            `in_process` where there is no URL.
        url: Base URL of its server, such as `http://income-sklearn:9000`, or
            `grpc://income-sklearn:9500` (`grpcs` with TLS).
        model: Name it is served under, if not its own.
        version: Version to ask for.
        uri: Folder of its artefact, for `in_process`; relative to the pipeline's artefact.
        implementation: MLServer runtime class, for `in_process`; by default that of its framework.
        output: Output to ask for, such as `predict_proba`.
        timeout: Seconds one call may take; the request's deadline holds in any case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Transport | None = None
    url: Url | None = None
    model: str | None = None
    version: str | None = None
    uri: str | None = None
    implementation: str | None = None
    output: str | None = None
    timeout: Seconds | None = None


class PipelineSettings(BaseModel):
    """How one pipeline is served.

    Attributes:
        base_url: Server of every child that has no URL of its own.
        transport: Transport of every child that names none.
        timeout: Seconds a request may take, unless it asks for less.
        connect_timeout: Seconds to wait for a connection to a child.
        seed: Seed of numpy's global generator for each request; by default an explainer's own.
        max_concurrency: Requests that a sync pipeline works on at once; more wait.
        drain_timeout: Seconds to wait for running requests when the model is unloaded.
        models: How each child is reached, by its name in the pipeline.
    """

    # Other keys of `extra` are the author's, or the platform's.
    model_config = ConfigDict(extra="ignore", frozen=True)

    base_url: Url | None = None
    transport: Transport | None = None
    timeout: Seconds = 60.0
    connect_timeout: Seconds = 5.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    max_concurrency: Annotated[int, Field(ge=1)] = 16
    drain_timeout: Annotated[float, Field(ge=0)] = 10.0
    models: Annotated[
        dict[str, Annotated[ChildSettings, BeforeValidator(_parse_json)]],
        BeforeValidator(_parse_json),
    ] = {}

    @classmethod
    def read(
        cls, extra: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
    ) -> PipelineSettings:
        """Reads both places.

        Args:
            extra: `parameters.extra` of the model's settings.
            environ: The environment.

        Raises:
            SettingsError: If a value is wrong; the message names it and where it stands.
        """
        try:
            variables = _from_environment(environ)
            return cls.model_validate(_merge(dict(extra or {}), variables))
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r:.80})"
                for fault in error.errors(include_url=False)
            ]
            raise SettingsError(
                "settings of the pipeline are wrong; correct parameters.extra of its "
                f"model-settings.json or the {ENV_PREFIX}* variables: " + "; ".join(faults)
            ) from error
        except ValueError as error:
            raise SettingsError(f"settings of the pipeline are wrong: {error}") from error

    def child(self, alias: str) -> ChildSettings:
        """Settings of one child, with the pipeline's filled in.

        A variable's name has no lower case, so an alias that has some is found without it.
        """
        found = self.models.get(alias) or self.models.get(alias.lower()) or ChildSettings()
        own = found.transport or self.transport
        url = found.url
        if url is None and self.base_url and own in (None, transport_of(self.base_url)):
            url = self.base_url
        own = own or (transport_of(url) if url else "in_process")
        if url and own != "in_process" and transport_of(url) != own:
            raise SettingsError(
                f"child {alias!r}: transport {own} and URL {url} do not go together; leave the "
                "transport out, or correct the URL"
            )
        return found.model_copy(update={"transport": own, "url": url})


def check_children(extra: Mapping[str, Any], aliases: list[str]) -> None:
    """Refuses settings in model-settings.json for a child that the pipeline does not have.

    Not so in the environment, which other pipelines of the process share.

    Raises:
        SettingsError: With the names it does have.
    """
    known = {alias.lower() for alias in aliases}
    models = _merge(extra, {"models": {}})["models"]
    unknown = [alias for alias in models if alias.lower() not in known]
    if unknown:
        raise SettingsError(
            f"parameters.extra.models names children the pipeline does not have: "
            f"{', '.join(unknown)}; it has {', '.join(aliases) or 'none'}"
        )


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    # Sorted, so that TEMPO_RUNTIME_MODELS comes before TEMPO_RUNTIME_MODELS__SKLEARN__URL.
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX):
            continue
        value: Any = text
        for name in reversed(variable[len(ENV_PREFIX) :].lower().split(_ENV_SEPARATOR)):
            value = {name: value}
        values = _merge(values, value)
    return values


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, field by field; where the same field is in both, `over` wins."""
    aliases = {key.lower(): key for key in under}
    merged = dict(under)
    for key, value in over.items():
        place = key if key in under else aliases.get(key.lower(), key)
        merged[place] = _both(place, merged[place], value) if place in merged else value
    return merged


def _both(name: str, under: Any, over: Any) -> Any:
    try:
        under, over = _parse_json(under), _parse_json(over)
        if isinstance(over, dict) and under is not None:
            if not isinstance(under, dict):
                raise ValueError(f"must be a JSON object, and is {under!r:.80}")
            return _merge(under, over)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return over
