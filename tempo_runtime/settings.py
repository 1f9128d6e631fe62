"""What a deployment chooses: `parameters.extra` of model-settings.json, and the environment.

Values may be strings or JSON, because Seldon Core 2 hands over strings only. The environment wins,
field by field, so that one artifact serves in several places:

    TEMPO_RUNTIME_TIMEOUT=10
    TEMPO_RUNTIME_MODELS__SKLEARN__URL=http://income-sklearn:9000
    TEMPO_RUNTIME_MODELS='{"sklearn": {"transport": "in_process"}}'
"""

from __future__ import annotations

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
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from tempo_runtime._util.layers import from_environment, merge, parse_json
from tempo_runtime.errors import SettingsError
from tempo_runtime.protocol import headers as carried
from tempo_runtime.protocol.sizes import MAX_COLUMNS, MAX_LITERAL_BYTES, DecodingLimits

ENV_PREFIX = "TEMPO_RUNTIME_"
DRAIN_TIMEOUT = 10.0  # seconds

Transport = Literal["in_process", "http", "grpc"]
_SCHEMES: dict[str, Transport] = {"http": "http", "https": "http", "grpc": "grpc", "grpcs": "grpc"}


def transport_of(url: str) -> Transport:
    """Return the transport that a URL's scheme names."""
    return _SCHEMES[urlsplit(url).scheme]


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or " " in url:
        raise ValueError(
            f"a child's URL is {', '.join(f'{scheme}://HOST' for scheme in _SCHEMES)}, with a port "
            "if need be"
        )
    if parts.username or parts.password:
        raise ValueError("a URL is printed in errors, so it may hold no password; use `headers`")
    _ = parts.port  # raises ValueError if it is not a port
    return url.rstrip("/")


def _check_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        raise ValueError("a list of URLs needs one at least")
    if len({transport_of(url) for url in urls}) > 1:
        raise ValueError("the URLs of one child are all of HTTP, or all of gRPC")
    return urls


def _split(value: Any) -> Any:
    value = parse_json(value)
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in lower.items():
        why = carried.fault(name, value.get_secret_value())
        if why is not None:
            raise ValueError(f"header {name!r} cannot be sent: {why}")
    return lower


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(name.lower() for name in names)
    for name in lower:
        why = carried.fault(name, "")
        if why is not None:
            raise ValueError(f"header {name!r} cannot be sent: {why}")
    return lower


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Patience = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Url = Annotated[str, AfterValidator(_check_url)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(_split), AfterValidator(_check_urls)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_names)]
# Values may be tokens: they are not printed.
Headers = Annotated[
    dict[str, SecretStr], BeforeValidator(parse_json), AfterValidator(_check_headers)
]


class TlsSettings(BaseModel):
    """How an encrypted connection is made.

    Attributes:
        verify: Whether the server's certificate is checked.
        ca: File of certificates to trust, in place of the machine's.
        cert: File of a client certificate, with its chain.
        key: File of its private key, where it is not in `cert`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    verify: bool = True
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


Tls = Annotated[TlsSettings, BeforeValidator(parse_json)]


class ChildSettings(BaseModel):
    """How one child is reached.

    Attributes:
        transport: `in_process`, `http` or `grpc`. By default what the URL's scheme says, and
            `in_process` where there is no URL.
        url: Base URL of its server, such as `http://income-sklearn:9000`, or
            `grpc://income-sklearn:9500` (`grpcs` with TLS); or several, which take turns.
        model: Name it is served under, if not its own.
        version: Version to ask for.
        uri: Folder of its artifact, for `in_process`; relative to the pipeline's artifact.
        implementation: MLServer runtime class, for `in_process`; by default that of its framework.
        fast: Whether a scikit-learn model, for `in_process`, is computed without what scikit-learn
            wraps around each step and tree: the same answers in less time. One that cannot be is
            refused when it is loaded.
        output: Output to ask for, such as `predict_proba`.
        squeeze: Whether an answer of shape `(N, 1)` is `(N,)`, as it was before MLServer's codecs.
            By default where MLServer's codec says that it wrote it.
        timeout: Seconds one call may take, all attempts together; the request's deadline holds in
            any case.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next byte of an answer over HTTP.
        patience: Seconds a call waits for a child that is down, counted from when it went down.
        retries: Further attempts, where the child may have worked on the first.
        max_concurrency: Calls at once; more wait.
        max_answer_bytes: Largest size of one answer; 0 for no limit. A larger one is not read to its end.
        headers: Headers of each call.
        tls: How an encrypted connection is made.
        proxy: URL of an HTTP proxy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    transport: Transport | None = None
    url: Urls | None = None
    model: str | None = None
    version: str | None = None
    uri: str | None = None
    implementation: str | None = None
    fast: bool = False
    output: str | None = None
    squeeze: bool | None = None
    timeout: Seconds | None = None
    connect_timeout: Seconds | None = None
    read_timeout: Seconds | None = None
    patience: Patience | None = None
    retries: Count | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    max_answer_bytes: Count | None = None
    headers: Headers = {}
    tls: Tls | None = None
    proxy: SecretStr | None = None


class PipelineSettings(BaseModel):
    """How one pipeline is served.

    Attributes:
        base_url: Server of every child that has no URL of its own.
        transport: Transport of every child that names none.
        timeout: Seconds a request may take, unless it asks for less.
        connect_timeout: Default of each child's `connect_timeout`.
        read_timeout: Default of each child's `read_timeout`.
        patience: Default of each child's `patience`.
        retries: Default of each child's `retries`.
        max_answer_bytes: Default of each child's `max_answer_bytes`.
        tls: Default of each child's `tls`.
        proxy: Default of each child's `proxy`.
        forward_headers: Further headers of a request that go with each call to a child, such as
            `authorization`.
        seed: Seed of numpy's global generator for each request; by default an explainer's own.
        fast_explainers: Whether alibi's anchors are served by code that gives the same explanations
            in less time, and sends rows to the classifier in fewer calls. The classifier's answer
            for a row must not depend on the other rows of a call.
        max_calls: Calls to children that a request may make; a request may ask for fewer.
        max_rows: Rows that it may send with them.
        best_so_far: Whether alibi's anchors, where a request has no calls, rows or time left, are
            the best that was found until then, marked as incomplete.
        max_concurrency: Requests that a sync pipeline works on at once; more wait. By default 16,
            and as many as there are processors where it holds an explainer, which computes.
        max_queue: How many may wait, or, in an async pipeline, be worked on beyond those; the next
            is answered 503.
        spare_threads: How many threads of a sync pipeline may be started to replace those that hang
            after their requests have ended; by default `max_concurrency`.
        drain_timeout: Seconds to wait for running requests when the model is unloaded, and the most
            seconds that a server's process may take to end after SIGTERM.
        max_columns: Tensors in one request, or in one answer of a child; each column of a DataFrame is
            one.
        max_literal_bytes: Length of a Python literal, as clients of tempo 0.5 write values.
        tempo_0_5_clients: Whether to answer as tempo 0.5's clients read: text and JSON as a list of
            byte integers.
        models: How each child is reached, by its name in the pipeline.
    """

    # Other keys of `extra` are the author's, or the platform's.
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    base_url: Urls | None = None
    transport: Transport | None = None
    timeout: Seconds = 60.0
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds | None = None
    patience: Patience = 10.0
    retries: Count = 2
    max_answer_bytes: Count = 256 * 2**20
    tls: Tls = TlsSettings()
    proxy: SecretStr | None = None
    forward_headers: Names = ()
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    fast_explainers: bool = True
    max_calls: Annotated[int, Field(ge=1)] | None = None
    max_rows: Annotated[int, Field(ge=1)] | None = None
    best_so_far: bool = False
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    max_queue: Count = 1000
    spare_threads: Count | None = None
    drain_timeout: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DRAIN_TIMEOUT
    max_columns: Annotated[int, Field(ge=1)] = MAX_COLUMNS
    max_literal_bytes: Annotated[int, Field(ge=1)] = MAX_LITERAL_BYTES
    tempo_0_5_clients: bool = False
    models: Annotated[
        dict[str, Annotated[ChildSettings, BeforeValidator(parse_json)]],
        BeforeValidator(parse_json),
    ] = {}

    @classmethod
    def read(
        cls, extra: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
    ) -> PipelineSettings:
        """Read both places.

        Args:
            extra: `parameters.extra` of the model's settings.
            environ: The environment.

        Raises:
            SettingsError: If a value is wrong; the message names it and where it stands.
        """
        try:
            variables = from_environment(ENV_PREFIX, environ)
            return cls.model_validate(merge(dict(extra or {}), variables))
        except ValidationError as error:
            faults = map(_fault, error.errors(include_url=False))
            raise SettingsError(
                "settings of the pipeline are wrong; correct parameters.extra of its "
                f"model-settings.json or the {ENV_PREFIX}* variables: " + "; ".join(faults)
            ) from error
        except ValueError as error:
            raise SettingsError(f"settings of the pipeline are wrong: {error}") from error

    @property
    def decoding(self) -> DecodingLimits:
        """Limits on decoding a request or an answer."""
        return DecodingLimits(self.max_columns, self.max_literal_bytes)

    def stated(self, alias: str) -> ChildSettings:
        """Return the settings of one child as stated.

        A variable's name has no lower case, so an alias that has some is found without it.
        """
        return self.models.get(alias) or self.models.get(alias.lower()) or ChildSettings()

    def child(self, alias: str) -> ChildSettings:
        """Return the settings of one child, with the pipeline's filled in.

        Raises:
            SettingsError: If its transport and its URL do not go together.
        """
        found = self.stated(alias)
        own = found.transport or self.transport
        urls = found.url
        if urls is None and self.base_url and own in (None, transport_of(self.base_url[0])):
            urls = self.base_url
        own = own or (transport_of(urls[0]) if urls else "in_process")
        if urls and own != "in_process" and transport_of(urls[0]) != own:
            raise SettingsError(
                f"child {alias!r}: transport {own} and URL {urls[0]} do not go together; leave the "
                "transport out, or correct the URL"
            )
        filled = {name: getattr(self, name) for name in _SHARED if getattr(found, name) is None}
        return found.model_copy(update={"transport": own, "url": urls, **filled})


_SHARED = (
    "connect_timeout",
    "read_timeout",
    "patience",
    "retries",
    "max_answer_bytes",
    "tls",
    "proxy",
)


def child_folder(folder: str, alias: str, name: str, path: str | None) -> str:
    """Folder of a child on this machine.

    Args:
        folder: The pipeline's artifact.
        alias: What the pipeline calls the child.
        name: The child's name.
        path: Where its folder is, from the artifact, if anything says so.

    Raises:
        SettingsError: If it is not there.
    """
    found = os.path.normpath(os.path.join(folder, path)) if path else None
    if found is None or not os.path.exists(found):
        variable = f"{ENV_PREFIX}MODELS__{alias.upper()}__"
        raise SettingsError(
            f"nothing says where child {alias!r} ({name}) is: "
            + (f"its folder {found} is not here" if found else "it has no folder")
            + f"; set {variable}URL to its server, or {variable}URI to its folder"
        )
    return found


def drain_timeout(
    extra: Mapping[str, Any] | None, environ: Mapping[str, str] = os.environ
) -> float | None:
    """Return a pipeline's `drain_timeout`; None if its settings are wrong, which its loading reports.

    The arguments are those of `PipelineSettings.read`.
    """
    try:
        return PipelineSettings.read(extra, environ).drain_timeout
    except SettingsError:
        return None


def check_children(extra: Mapping[str, Any], aliases: list[str]) -> None:
    """Refuse settings in model-settings.json for a child that the pipeline does not have.

    Not so in the environment, which other pipelines of the process share.

    Raises:
        SettingsError: With the names it does have.
    """
    known = {alias.lower() for alias in aliases}
    models = merge(extra, {"models": {}})["models"]
    unknown = [alias for alias in models if alias.lower() not in known]
    if unknown:
        raise SettingsError(
            f"parameters.extra.models names children the pipeline does not have: "
            f"{', '.join(unknown)}; it has {', '.join(aliases) or 'none'}"
        )


def _fault(fault: ErrorDetails) -> str:
    names = [name for name in fault["loc"] if isinstance(name, str)]
    text, value = f"{'.'.join(names)}: {fault['msg']}", fault["input"]
    # Not what may hold a token: headers, a URL with a password, a field that nobody knows.
    secret = (
        {"headers", "proxy"} & {*names} or fault["type"] == "extra_forbidden" or "@" in f"{value}"
    )
    whole = isinstance(value, Mapping) or f"{value}".lstrip()[:1] in ("{", "[")
    return text if secret or whole else f"{text} (got {value!r:.80})"
