"""Settings of a deployment: `parameters.extra` of model-settings.json, and the environment.

Values may be strings or JSON, because Seldon Core 2 passes on only strings. The environment takes
precedence, field by field, so that one artifact can be served in several places:

    TEMPO_RUNTIME_TIMEOUT=10
    TEMPO_RUNTIME_MODELS__SKLEARN__URL=http://income-sklearn:9000
    TEMPO_RUNTIME_MODELS='{"sklearn": {"transport": "in_process"}}'
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from typing_extensions import Self

from tempo_runtime._util.credentials import redacted
from tempo_runtime._util.layers import from_environment, merge, parse_json
from tempo_runtime.errors import SettingsError
from tempo_runtime.protocol import headers as carried
from tempo_runtime.protocol.sizes import MAX_COLUMNS, MAX_LITERAL_BYTES, DecodingLimits

ENV_PREFIX = "TEMPO_RUNTIME_"
DRAIN_TIMEOUT = 10.0  # seconds
_HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
REQUEST_HEADERS = ("x-request-id", "traceparent", "tracestate", "baggage", "x-b3-*")

Transport = Literal["in_process", "http", "grpc"]
_SCHEMES: dict[str, Transport] = {"http": "http", "https": "http", "grpc": "grpc", "grpcs": "grpc"}


def transport_of(url: str) -> Transport:
    """Return the transport that a URL's scheme names."""
    return _SCHEMES[urlsplit(url).scheme]


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or " " in url:
        raise ValueError(
            "a child's URL must be one of "
            f"{', '.join(f'{scheme}://HOST[:PORT]' for scheme in _SCHEMES)}"
        )
    if parts.username or parts.password:
        raise ValueError(
            "URLs are printed in errors, so they must not contain a password; use `headers`"
        )
    _ = parts.port  # raises ValueError if it is invalid
    return url.rstrip("/")


def _check_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        raise ValueError("a list of URLs must not be empty")
    if len({transport_of(url) for url in urls}) > 1:
        raise ValueError("all URLs of a child must use HTTP, or all of them gRPC")
    return urls


def _split(value: Any) -> Any:
    value = parse_json(value)
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in lower.items():
        reason = carried.fault(name, value.get_secret_value())
        if reason is not None:
            raise ValueError(f"header {name!r} cannot be sent: {reason}")
    return lower


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(name.lower() for name in names)
    for name in lower:
        reason = carried.fault(name, "")
        if reason is not None:
            raise ValueError(f"header {name!r} cannot be sent: {reason}")
    return lower


def _check_sink(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        raise ValueError("the sink must be a URL, http://HOST[:PORT][/PATH] or https://...")
    if parts.username or parts.password:
        raise ValueError(
            "the sink's URL is shown in logs, so it must not contain a password; set "
            f"{ENV_PREFIX}INSIGHTS__TOKEN or {ENV_PREFIX}INSIGHTS__HEADERS"
        )
    if redacted(url) != url:
        raise ValueError(
            "the sink's URL is saved and shown in logs, so its query must not contain a key or a token; "
            f"set {ENV_PREFIX}INSIGHTS__HEADERS in the environment"
        )
    _ = parts.port  # raises ValueError if it is invalid
    return url


def _check_token(token: SecretStr) -> SecretStr:
    if reason := carried.fault("authorization", token.get_secret_value()):
        raise ValueError(f"the token cannot be sent: {reason}")
    return token


def _check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    _check_names(tuple(pattern.removesuffix("*") or "x" for pattern in patterns))
    return tuple(pattern.lower() for pattern in patterns)


def _check_hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name and not _HOST_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r:.80} is not the name of a host; write it without a scheme and a port, such as "
                "models.example.com"
            )
    return tuple(name.lower() for name in names if name)


# Deprecated names of settings, and their present names.
_RENAMED = {"best_so_far": "allow_incomplete_anchors", "patience": "unavailable_timeout"}
_RENAMED_OF_CHILDREN = {
    "fast": "fast_sklearn",
    "patience": "unavailable_timeout",
    "squeeze": "flatten_single_column",
}


def _with_present_names(
    values: Mapping[str, Any], renamed: Mapping[str, str], prefix: str = ""
) -> dict[str, Any]:
    values = dict(values)
    for old, new in renamed.items():
        if old not in values:
            continue
        if new in values:
            raise ValueError(
                f"{prefix}{old} is the deprecated name of {prefix}{new}; remove one of the two"
            )
        warnings.warn(
            f"the setting {prefix}{old} is deprecated; write {prefix}{new}",
            DeprecationWarning,
            stacklevel=2,
        )
        values[new] = values.pop(old)
    return values


def _with_present_names_everywhere(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename deprecated settings of a pipeline and of its children, in one of the two places.

    This must happen before the places are merged: where they use different names of a setting, the
    environment still takes precedence.
    """
    values = _with_present_names(values, _RENAMED)
    models = _parsed(values.get("models"))
    if isinstance(models, dict):
        values["models"] = {
            alias: _with_present_names(child, _RENAMED_OF_CHILDREN, f"models.{alias}.")
            if isinstance(child := _parsed(settings), dict)
            else settings
            for alias, settings in models.items()
        }
    return values


def _parsed(value: Any) -> Any:
    try:
        return parse_json(value)
    except ValueError:
        return value  # validation reports it, with the name of the setting


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Url = Annotated[str, AfterValidator(_check_url)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(_split), AfterValidator(_check_urls)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_names)]
# `x-*` stands for all names that begin with `x-`.
Patterns = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_patterns)]
HostNames = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_hosts)]
# Values may be tokens, which must not be printed.
Headers = Annotated[
    dict[str, SecretStr], BeforeValidator(parse_json), AfterValidator(_check_headers)
]


class TlsSettings(BaseModel):
    """Settings of encrypted connections.

    Attributes:
        verify: Whether to check the server's certificate.
        ca: File of certificates to trust, instead of the machine's.
        cert: File of a client certificate, with its chain.
        key: File of the certificate's private key, unless `cert` contains it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    verify: bool = True
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


Tls = Annotated[TlsSettings, BeforeValidator(parse_json)]


class CheckedOptions(BaseModel):
    """Options whose faults become a `SettingsError` that names the fields and shows no secret.

    They do not change; `replace` copies them with changes.
    """

    # Without the last, a traceback would show the values, and with them passwords.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    if not TYPE_CHECKING:  # a type checker knows the arguments by the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                faults = "; ".join(map(self._fault, error.errors(include_url=False)))
                raise SettingsError(f"{type(self).__name__}: {faults}") from error

        # This tells pydantic not to call this `__init__` for options in others, whose errors have the
        # whole path.
        __init__.__pydantic_base_init__ = True

    def replace(self, **changes: Any) -> Self:
        """Copy these options with changes, which are checked as those of new options.

        Args:
            changes: Names of options and their new values.

        Raises:
            SettingsError: If a change is invalid, or there is no such option.

        Example:
            >>> from tempo_runtime import Batching
            >>> Batching(max_rows=32).replace(max_delay=0.01)
            Batching(max_rows=32, max_delay=0.01)
        """
        known = option_names(type(self))
        return type(self)(
            **stated(self) | {known.get(name, name): value for name, value in changes.items()}
        )

    __replace__ = replace  # for `copy.replace`, from Python 3.13 on

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy these options as pydantic does, except that changes are checked: see `replace`."""
        copied = super().model_copy(deep=deep)
        return copied.replace(**update) if update else copied

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in option_names(type(self)):
            raise SettingsError(f"{type(self).__name__}: {name}: {self._unknown(name)}")
        raise SettingsError(
            f"{type(self).__name__}.{name} cannot be set, because options do not change; make others: "
            f"options = options.replace({name}=...)"
        )

    @classmethod
    def _fault(cls, fault: ErrorDetails) -> str:
        """Describe one of the errors that pydantic lists."""
        return _describe(fault)

    @classmethod
    def _unknown(cls, name: str) -> str:
        """Describe that there is no option of this name."""
        return "there is no such option"


class DeclaredOptions(CheckedOptions):
    """Options that an author declares; settings and the environment change them field by field."""


def option_names(kind: type[BaseModel] | None) -> dict[str, str]:
    """List the names of options, including aliases, each with its name in Python."""
    fields = kind.model_fields if kind is not None else {}
    by_name = {name: name for name in fields}
    aliases = {name: field.validation_alias for name, field in fields.items()}
    return by_name | {alias: name for name, alias in aliases.items() if isinstance(alias, str)}


def stated(options: BaseModel) -> dict[str, Any]:
    """Return the values that were set in options, by name."""
    return {name: getattr(options, name) for name in options.model_fields_set}


class Batching(DeclaredOptions):
    """Put calls of different requests to a model together, as one call with the rows of all.

    A call never waits while the model is idle. Calls that come while another is under way become the
    next one, if they differ only in their rows.

    Args:
        max_rows: Largest number of rows in such a call. A call with more rows is made alone; 1 turns
            batching off.
        max_delay: Seconds that a call waits for others, even if the model is idle.

    Raises:
        SettingsError: If a value is invalid.

    Example:
        >>> from tempo_runtime import Batching, Model, ModelFramework
        >>> forest = Model("forest", platform=ModelFramework.SKLearn, batching=Batching(max_rows=32))
        >>> forest.details.batching
        Batching(max_rows=32, max_delay=0.0)
    """

    max_rows: Annotated[int, Field(ge=1)] = 64
    max_delay: SecondsOrZero = 0.0


_SWITCHES: dict[str, dict[str, int]] = {
    "true": {},
    "1": {},
    "false": {"max_rows": 1},
    "0": {"max_rows": 1},
}


def _parse_batching(value: Any) -> Any:
    value = parse_json(value)
    return _SWITCHES.get(str(value).lower(), value) if isinstance(value, bool | str) else value


LoggedPart = Literal["request", "response", "children"]


class InsightsOptions(DeclaredOptions):
    """Log requests and answers of a pipeline to a sink, as CloudEvents over HTTP.

    Args:
        sink: URL that receives the events; without one, nothing is logged.
        log: Which events are logged without a call of `insights.log`: `request`, `response` and
            `children`.
        sample_rate: Share of the requests that are logged, from 0 to 1.
        sample_header: Header whose value decides whether a request is logged: all requests with the same
            value, or none of them.
        sample_argument: Argument that decides instead, by name.
        decline_header: Header by which a client declines the log of a request; empty for no such header.
        redact: Names of arguments, columns, and keys in dicts, whose values are not logged; upper and
            lower case are the same.
        max_payload_bytes: Largest size of the values in one event, in memory; the rest is cut.
        max_child_events: Largest number of calls to children that are logged for one request.
        max_events: Largest number of events that wait for the sink; further events are dropped.
        max_bytes: Largest size of their values, in memory.
        max_batch: Largest number of events that are sent together.
        max_delay: Seconds that an event waits for others before it is sent.
        timeout: Seconds that the sink may take for one batch.
        flush_timeout: Seconds in which waiting events are sent when the server ends.
        audit: Whether a request is answered only when the sink has its events; otherwise it is refused
            with status 503.
        ca: File of certificates to trust, instead of the machine's.
        type_prefix: Start of the type of each event; KServe's is `org.kubeflow.serving.inference`.
        source: Source of each event; by default `urn:tempo-runtime:pipeline:NAME`.

    Raises:
        SettingsError: If a value is invalid.

    Example:
        >>> from tempo_runtime import InsightsOptions, pipeline
        >>> @pipeline("greeting", insights=InsightsOptions(sink="http://logs:8080", redact=("name",)))
        ... def greeting(name: str) -> str:
        ...     return f"Hello, {name}"
        >>> greeting.details.insights.redact
        ('name',)
    """

    sink: Annotated[str, AfterValidator(_check_sink)] | None = None
    log: Annotated[tuple[LoggedPart, ...], BeforeValidator(_split)] = (
        "request",
        "response",
        "children",
    )
    sample_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    sample_header: Annotated[str, AfterValidator(str.lower)] | None = None
    sample_argument: str | None = None
    decline_header: Annotated[str, AfterValidator(str.lower)] = "seldon-skip-logging"
    redact: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    max_payload_bytes: Annotated[int, Field(ge=0)] = 64 * 1024
    max_child_events: Count = 100
    max_events: Annotated[int, Field(ge=1)] = 10_000
    max_bytes: Annotated[int, Field(ge=1)] = 32 * 2**20
    max_batch: Annotated[int, Field(ge=1)] = 500
    max_delay: SecondsOrZero = 0.2
    timeout: Seconds = 10.0
    flush_timeout: SecondsOrZero = 3.0
    audit: bool = False
    ca: str | None = None
    type_prefix: Annotated[str, Field(min_length=1)] = "io.seldon.serving.inference"
    source: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> InsightsOptions:
        if self.audit and self.sample_rate < 1:
            raise ValueError("an audit logs every request; leave out sample_rate, or audit")
        if self.audit and not {"request", "response"} <= set(self.log):
            raise ValueError("an audit logs requests and responses; add both to log")
        if self.sample_header is not None and self.sample_argument is not None:
            raise ValueError("set only one of sample_header and sample_argument")
        return self


class InsightsSettings(InsightsOptions):
    """Settings of the request logs, with credentials, which only the environment may contain.

    Attributes:
        headers: Headers of each request to the sink.
        token: Token that is sent as `authorization: Bearer ...`.
    """

    headers: Headers = {}
    token: Annotated[SecretStr, AfterValidator(_check_token)] | None = None


_INSIGHTS_SECRETS = ("headers", "token")
_INSIGHTS_SWITCHES: dict[str, dict[str, Any]] = {
    "true": {},
    "1": {},
    "false": {"sink": None},
    "0": {"sink": None},
}


def _parse_insights(value: Any) -> Any:
    value = parse_json(value)
    is_switch = isinstance(value, bool | str)
    return _INSIGHTS_SWITCHES.get(str(value).lower(), value) if is_switch else value


def _check_state_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or " " in url:
        raise ValueError("the state's URL must be redis://HOST[:PORT][/DATABASE] or rediss://...")
    if parts.query or parts.fragment or not re.fullmatch(r"/?|/\d+", parts.path):
        raise ValueError(
            "the state's URL may have only a host, a port and the number of a database"
        )
    _ = parts.port  # raises ValueError if it is invalid
    return url.rstrip("/")


def _refuse_credentials(url: str) -> str:
    if "@" in urlsplit(url).netloc:
        raise ValueError(
            "the state's URL is saved and shown, so it must not contain a user or a password; set "
            f"{ENV_PREFIX}STATE__PASSWORD in the environment"
        )
    return url


StateUrl = Annotated[str, AfterValidator(_check_state_url), AfterValidator(_refuse_credentials)]


class StateOptions(DeclaredOptions):
    """Give a pipeline a state, which its requests read and change: `self.state`.

    Without a URL, the state is in the memory of the process that runs the pipeline, and ends with it.

    Args:
        url: The Redis that keeps the state, `redis://HOST[:PORT][/DATABASE]`, or `rediss://` with TLS.
        namespace: Pipelines with the same namespace share their state. By default it is the name of the
            pipeline, and `NAME/VERSION` if it is served with a version.
        timeout: Seconds that one call of the state may take; never beyond the request's deadline.
        ready: Whether the pipeline is not ready while its Redis is away.
        remember: Seconds for which `incr` remembers the ids given as `once`.
        tls: Settings of `rediss://`: `ca` is a file of certificates to trust.

    Raises:
        SettingsError: If a value is invalid.

    Example:
        >>> from tempo_runtime import State, StateOptions, pipeline, predictmethod
        >>> @pipeline("counter", state=StateOptions())
        ... class Counter:
        ...     state: State
        ...
        ...     @predictmethod
        ...     def count(self, by: int) -> int:
        ...         return self.state.incr("total", by)
        >>> counter = Counter()
        >>> counter.count(2), counter.count(3)
        (2, 5)
    """

    url: StateUrl | None = None
    namespace: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    timeout: Seconds = 2.0
    ready: bool = False
    remember: Seconds = 3600.0
    tls: Tls = TlsSettings()


def _hide_credentials(url: Any) -> Any:
    return SecretStr(url) if isinstance(url, str) else url


def _check_secret_url(url: SecretStr) -> SecretStr:
    return SecretStr(_check_state_url(url.get_secret_value()))


_SecretStateUrl = Annotated[
    SecretStr, BeforeValidator(_hide_credentials), AfterValidator(_check_secret_url)
]


class StateSettings(StateOptions):
    """Settings of a state, with credentials, which only the environment may contain.

    Attributes:
        url: As in `StateOptions`; in the environment it may contain a user and a password.
        username: User of the Redis; by default Redis's own.
        password: Its password.
    """

    url: _SecretStateUrl | None = None  # type: ignore[assignment]  # it may have a password
    username: str | None = None
    password: SecretStr | None = None

    @property
    def address(self) -> str:
        """The URL without credentials; empty if the state is in memory."""
        return "" if self.url is None else redacted(self.url.get_secret_value(), "")


_STATE_SECRETS = ("username", "password")


def _refuse_secrets_in_file(extra: Mapping[str, Any]) -> None:
    for setting, secrets in (("insights", _INSIGHTS_SECRETS), ("state", _STATE_SECRETS)):
        stored = _parsed(extra.get(setting))
        written = [name for name in secrets if isinstance(stored, dict) and name in stored]
        if setting == "state" and isinstance(stored, dict) and "@" in f"{stored.get('url', '')}":
            written.append("url")
        for name in written:
            raise ValueError(
                f"{setting}.{name} may contain a credential, which must not be in a file of the "
                f"artifact; set {ENV_PREFIX}{setting.upper()}__{name.upper()} in the environment, from a "
                "Secret"
            )


class ChildSettings(BaseModel):
    """Settings of calls to one child.

    Attributes:
        transport: `in_process`, `http` or `grpc`. The default follows from the URL's scheme, and is
            `in_process` if there is no URL.
        url: Base URL of the child's server, such as `http://income-sklearn:9000`, or
            `grpc://income-sklearn:9500` (`grpcs` with TLS); or several, which take turns.
        model: Name that the server knows the child by, if it is another than the child's.
        version: Version to ask for.
        uri: Folder of the child's artifact, for `in_process`; relative to the pipeline's artifact.
        implementation: MLServer runtime class, for `in_process`; by default that of the framework.
        fast_sklearn: Whether to compute a scikit-learn model, for `in_process`, without the checks
            and conversions that scikit-learn repeats in each step and tree: the same answers in less
            time. By default, if the model allows it; with true, loading fails if it does not.
        output: Output to ask for, such as `predict_proba`; by default the one that the model declares.
            Empty text asks for the one that its server gives.
        flatten_single_column: Whether to return an answer of shape `(N, 1)` as `(N,)`, the shape it
            had before MLServer's codecs encoded it. By default, if MLServer's codec has marked it.
        timeout: Seconds that one call may take, with all attempts; never beyond the request's
            deadline.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next byte of an answer over HTTP.
        unavailable_timeout: Seconds to wait for a child that is down, counted from when it went down.
        retries: Further attempts, if the child may have worked on the first.
        max_concurrency: Largest number of calls at the same time; further calls wait.
        max_answer_bytes: Largest size of one answer; 0 for no limit. The rest of a larger one is not
            read.
        batching: `max_rows` and `max_delay` of `Batching`, or true or false. A value that is not set is
            the one that the model declares.
        headers: Headers of each call.
        tls: Settings of encrypted connections.
        proxy: URL of an HTTP proxy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    transport: Transport | None = None
    url: Urls | None = None
    model: str | None = None
    version: str | None = None
    uri: str | None = None
    implementation: str | None = None
    fast_sklearn: bool | None = None
    output: str | None = None
    flatten_single_column: bool | None = None
    timeout: Seconds | None = None
    connect_timeout: Seconds | None = None
    read_timeout: Seconds | None = None
    unavailable_timeout: SecondsOrZero | None = None
    retries: Count | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    max_answer_bytes: Count | None = None
    batching: Annotated[Batching, BeforeValidator(_parse_batching)] | None = None
    headers: Headers = {}
    tls: Tls | None = None
    proxy: SecretStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_deprecated_names(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            return _with_present_names(values, _RENAMED_OF_CHILDREN)
        return values

    def output_of(self, declared: str | None) -> str | None:
        """Return the output to ask a child for; None for the one that its server gives.

        Args:
            declared: What the child declares.
        """
        return (declared if self.output is None else self.output) or None

    def batching_of(self, declared: Batching | None) -> Batching | None:
        """Return how calls to a child are put together, if they are.

        Args:
            declared: What the child declares.
        """
        return _batching(self.batching, declared)


def _batching(settings: Batching | None, declared: Batching | None) -> Batching | None:
    batching = declared
    if settings is not None:
        batching = (declared or Batching()).replace(**stated(settings))
    return batching if batching is not None and batching.max_rows > 1 else None


AccessLog = Literal["off", "text", "json"]


def _parse_access_log(value: Any) -> Any:
    """Return `off` for false, as YAML reads it."""
    return "off" if value is False else value


class PipelineSettings(BaseModel):
    """Settings of one pipeline.

    Attributes:
        base_url: Server of all children without a URL.
        transport: Transport of all children without a transport.
        timeout: Seconds that a request may take, unless it asks for less.
        connect_timeout: Default of each child's `connect_timeout`.
        read_timeout: Default of each child's `read_timeout`.
        unavailable_timeout: Default of each child's `unavailable_timeout`.
        retries: Default of each child's `retries`.
        max_answer_bytes: Default of each child's `max_answer_bytes`.
        tls: Default of each child's `tls`.
        proxy: Default of each child's `proxy`.
        forward_headers: Further headers of a request to send with each call to a child, such as
            `authorization`.
        request_headers: Headers of a request that `current_request().headers` has; `x-*` stands for all
            that begin with `x-`. Those that hold credentials must be named in full.
        seed: Seed of numpy's global generator for each request; by default that of an explainer.
        fast_explainers: Whether to compute alibi's anchors with code that returns the same
            explanations in less time, and sends rows to the classifier in fewer calls. The
            classifier's answer for a row must not depend on the other rows of a call.
        max_calls: Largest number of calls to children in a request; a request may ask for fewer.
        max_rows: Largest number of rows sent with these calls.
        allow_incomplete_anchors: Whether alibi's anchors return the best anchor so far, marked as
            incomplete, when the request has no calls, rows or time left.
        max_concurrency: Largest number of requests that a sync pipeline works on at the same time;
            further requests wait. By default 16, or the number of processors if the pipeline has an
            explainer, which computes.
        max_queue: Largest number of requests that wait or, in an async pipeline, run beyond
            `max_concurrency`; further requests are answered 503.
        spare_threads: Largest number of threads started in a sync pipeline to replace those that
            hang after their requests have ended; by default `max_concurrency`.
        batching: `max_rows` and `max_delay` of `Batching` for the pipeline's own requests, or true or
            false. A value that is not set is the one that the pipeline declares.
        insights: Options of the request logs, as in `InsightsOptions`, or true or false. A value that is
            not set is the one that the pipeline declares.
        access_log: Whether to write one line for each request: `text` or `json`, or `off`.
        max_traced_calls: Largest number of calls to children that have spans of their own in the trace
            of a request.
        state: Options of the pipeline's state, as in `StateOptions`; in the environment also `username`
            and `password`. A value that is not set is the one that the pipeline declares.
        drain_timeout: Seconds to wait for running requests when the model is unloaded, and the
            longest time that a server's process may take to end after SIGTERM.
        max_columns: Largest number of tensors in a request, or in an answer of a child; each column
            of a DataFrame is one.
        max_literal_bytes: Largest size of a Python literal, the form in which clients of tempo 0.5
            send values.
        tempo_0_5_clients: Whether to answer in the form that clients of tempo 0.5 read: text and
            JSON as a list of byte integers.
        models: Settings of each child, by its name in the pipeline.
    """

    # Other keys of `extra` belong to the author or to the platform.
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    base_url: Urls | None = None
    transport: Transport | None = None
    timeout: Seconds = 60.0
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds | None = None
    unavailable_timeout: SecondsOrZero = 10.0
    retries: Count = 2
    max_answer_bytes: Count = 256 * 2**20
    tls: Tls = TlsSettings()
    proxy: SecretStr | None = None
    forward_headers: Names = ()
    request_headers: Patterns = REQUEST_HEADERS
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    fast_explainers: bool = True
    max_calls: Annotated[int, Field(ge=1)] | None = None
    max_rows: Annotated[int, Field(ge=1)] | None = None
    allow_incomplete_anchors: bool = False
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    max_queue: Count = 1000
    spare_threads: Count | None = None
    batching: Annotated[Batching, BeforeValidator(_parse_batching)] | None = None
    insights: Annotated[InsightsSettings, BeforeValidator(_parse_insights)] | None = None
    access_log: Annotated[AccessLog, BeforeValidator(_parse_access_log)] = "off"
    max_traced_calls: Count = 100
    state: Annotated[StateSettings, BeforeValidator(parse_json)] | None = None
    drain_timeout: SecondsOrZero = DRAIN_TIMEOUT
    max_columns: Annotated[int, Field(ge=1)] = MAX_COLUMNS
    max_literal_bytes: Annotated[int, Field(ge=1)] = MAX_LITERAL_BYTES
    tempo_0_5_clients: bool = False
    models: Annotated[
        dict[str, Annotated[ChildSettings, BeforeValidator(parse_json)]],
        BeforeValidator(parse_json),
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_deprecated_names(cls, values: Any) -> Any:
        return _with_present_names(values, _RENAMED) if isinstance(values, Mapping) else values

    @classmethod
    def read(
        cls, extra: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
    ) -> PipelineSettings:
        """Read the settings from both places.

        Args:
            extra: `parameters.extra` of the model's settings.
            environ: The environment.

        Raises:
            SettingsError: If a value is invalid; the message names the setting.
        """
        try:
            declared = _with_present_names_everywhere(extra or {})
            _refuse_secrets_in_file(declared)
            variables = _with_present_names_everywhere(from_environment(ENV_PREFIX, environ))
            return cls.model_validate(merge(declared, variables))
        except ValidationError as error:
            faults = map(_describe, error.errors(include_url=False))
            raise SettingsError(
                "the settings of the pipeline are invalid; correct parameters.extra in its "
                f"model-settings.json, or the {ENV_PREFIX}* variables: " + "; ".join(faults)
            ) from error
        except ValueError as error:
            raise SettingsError(f"the settings of the pipeline are invalid: {error}") from error

    @property
    def decoding(self) -> DecodingLimits:
        """Limits for decoding a request or an answer."""
        return DecodingLimits(self.max_columns, self.max_literal_bytes)

    def batching_of(self, declared: Batching | None) -> Batching | None:
        """Return how requests to the pipeline are put together; see `ChildSettings.batching_of`."""
        return _batching(self.batching, declared)

    def insights_of(self, declared: InsightsOptions | None) -> InsightsSettings | None:
        """Return the options of the request logs; None if nothing is logged.

        Args:
            declared: What the pipeline declares.

        Raises:
            SettingsError: If values that are set in different places contradict each other.
        """
        values: dict[str, Any] = {}
        for options in (declared, self.insights):
            if options is not None:
                values |= stated(options)
        settings = InsightsSettings(**values)
        return settings if settings.sink is not None else None

    def state_of(self, declared: StateOptions | None) -> StateSettings | None:
        """Return the settings of the pipeline's state; None if it does not declare one.

        Args:
            declared: What the pipeline declares.
        """
        if declared is None:
            return None
        if self.state is None:
            return StateSettings(**stated(declared))
        tls = declared.tls.model_copy(update=stated(self.state.tls))
        return StateSettings(**{**stated(declared), **stated(self.state), "tls": tls})

    def stated(self, alias: str) -> ChildSettings:
        """Return the settings of one child, without those that the pipeline has for all children.

        Environment variables are in upper case, so an alias in mixed case is also looked up in lower
        case.
        """
        return self.models.get(alias) or self.models.get(alias.lower()) or ChildSettings()

    def child(self, alias: str) -> ChildSettings:
        """Return the settings of one child; those it does not set are the pipeline's.

        Raises:
            SettingsError: If the URL's scheme does not match the transport.
        """
        stated = self.stated(alias)
        transport = stated.transport or self.transport
        urls = stated.url
        if urls is None and self.base_url and transport in (None, transport_of(self.base_url[0])):
            urls = self.base_url
        transport = transport or (transport_of(urls[0]) if urls else "in_process")
        if urls and transport != "in_process" and transport_of(urls[0]) != transport:
            raise SettingsError(
                f"child {alias!r}: the URL {urls[0]} does not match the transport {transport}; remove "
                "the transport, or correct the URL"
            )
        shared = {name: getattr(self, name) for name in _SHARED if getattr(stated, name) is None}
        return stated.model_copy(update={"transport": transport, "url": urls, **shared})


class ServerSettings(BaseModel):
    """Settings of a server, for all its models. Only its environment states them.

    Attributes:
        page: Whether it has a page at `/`.
        page_hosts: Names by which browsers reach it, besides `localhost` and IP addresses.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    page: bool = False
    page_hosts: HostNames = ()

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> ServerSettings:
        """Read the settings from the environment.

        Raises:
            SettingsError: If a value is invalid; the message names the variable.
        """
        variables = {name: environ.get(_variable(name)) for name in cls.model_fields}
        stated = {name: value for name, value in variables.items() if value is not None}
        try:
            return cls.model_validate(stated)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise SettingsError(
                "the settings of the server are invalid; correct "
                + "; ".join(
                    f"{_variable(str(fault['loc'][0]))}: {fault['msg']}" for fault in faults
                )
            ) from error

    def variables(self) -> dict[str, str]:
        """Return the environment variables that state these settings."""
        variables = {_variable("page"): str(self.page).lower()}
        if self.page_hosts:
            variables[_variable("page_hosts")] = ",".join(self.page_hosts)
        return variables


def _variable(name: str) -> str:
    return f"{ENV_PREFIX}{name.upper()}"


_SHARED = (
    "connect_timeout",
    "read_timeout",
    "unavailable_timeout",
    "retries",
    "max_answer_bytes",
    "tls",
    "proxy",
)


def child_folder(folder: str, alias: str, name: str, path: str | None) -> str:
    """Return the folder of a child on this machine.

    Args:
        folder: The pipeline's artifact.
        alias: The name by which the pipeline calls the child.
        name: The child's name.
        path: Path of the child's folder, relative to the artifact; None if it is not known.

    Raises:
        SettingsError: If the folder does not exist.
    """
    location = os.path.normpath(os.path.join(folder, path)) if path else None
    if location is None or not os.path.exists(location):
        variable = f"{ENV_PREFIX}MODELS__{alias.upper()}__"
        raise SettingsError(
            f"cannot locate child {alias!r} ({name}): "
            + (f"its folder {location} does not exist" if location else "it has no folder")
            + f"; set {variable}URL to its server, or {variable}URI to its folder"
        )
    return location


def drain_timeout(
    extra: Mapping[str, Any] | None, environ: Mapping[str, str] = os.environ
) -> float | None:
    """Return a pipeline's `drain_timeout`; None if its settings are invalid, which loading reports.

    The arguments are those of `PipelineSettings.read`.
    """
    try:
        return PipelineSettings.read(extra, environ).drain_timeout
    except SettingsError:
        return None


def check_children(extra: Mapping[str, Any], aliases: list[str]) -> None:
    """Refuse settings in model-settings.json for a child that the pipeline does not have.

    The environment may have them: other pipelines of the process share it.

    Raises:
        SettingsError: If there are any; the message lists the pipeline's children.
    """
    known = {alias.lower() for alias in aliases}
    models = merge(extra, {"models": {}})["models"]
    unknown = [alias for alias in models if alias.lower() not in known]
    if unknown:
        raise SettingsError(
            f"parameters.extra.models names children that the pipeline does not have: "
            f"{', '.join(unknown)}; its children are: {', '.join(aliases) or '(none)'}"
        )


def _describe(fault: ErrorDetails) -> str:
    names = [name for name in fault["loc"] if isinstance(name, str)]
    text, value = f"{'.'.join(names)}: {fault['msg']}", fault["input"]
    # Values that may contain a token are not quoted: headers, URLs with a password, unknown fields.
    secret = (
        {"headers", "proxy", "token", "password"} & {*names}
        or fault["type"] == "extra_forbidden"
        or "@" in f"{value}"
        or redacted(f"{value}") != f"{value}"
    )
    nested = isinstance(value, Mapping) or f"{value}".lstrip()[:1] in ("{", "[")
    return text if secret or nested else f"{text} (got {value!r:.80})"
