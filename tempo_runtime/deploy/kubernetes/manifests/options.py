"""Options of a deployment on Kubernetes, for each platform."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tempo_runtime._util.credentials import redacted
from tempo_runtime.deploy.kubernetes.manifests.annotation import KEPT
from tempo_runtime.deploy.kubernetes.secrets import refuse_secrets
from tempo_runtime.deploy.options import DockerOptions, Options


def _text(value: Any) -> Any:
    """Convert a number to the text of a quantity, because custom resources accept "0.5" but not 0.5."""
    return str(value) if type(value) in (int, float) else value


def _version(value: Any) -> Any:
    """Refuse a number, because YAML and JSON read 0.20 as 0.2."""
    if isinstance(value, float):
        raise ValueError("write all three parts of the version, such as 0.15.2")
    return value


def _not_reserved(values: dict[str, str]) -> dict[str, str]:
    if kept := sorted(KEPT.intersection(values)):
        raise ValueError(f"{', '.join(kept)} is reserved for tempo-runtime; leave it out")
    return values


def _number(value: Any) -> Any:
    """Refuse a boolean: YAML reads `no` and `off` as false, and false would be 0."""
    if isinstance(value, bool):
        raise ValueError(f"Input should be a number, not {str(value).lower()}")
    return value


def _matching(pattern: str, words: str) -> AfterValidator:
    """Return a validator that refuses text without a pattern, with a message in words."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)


def _without_credentials(url: str) -> str:
    if redacted(url) != url:
        raise ValueError(
            "write a URL without a password or a token, because manifests are saved; let a broker in the "
            "cluster add it"
        )
    return url


_QUANTITY = r"(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?"
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"

Count = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_number), Field(ge=1)]
User = Annotated[int, BeforeValidator(_number), Field(ge=1, le=2**31 - 1)]  # 0 is root
Percent = Annotated[int, BeforeValidator(_number), Field(ge=1, le=100)]
Name = Annotated[
    str,
    Field(max_length=63),
    _matching(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "use lowercase letters and digits, with `-` only between them",
    ),
]
Key = Annotated[
    str,
    _matching(
        rf"({_PREFIX}/)?{_NAME}", "use letters, digits, `-`, `_` and `.`, as in example.com/team"
    ),
]
Text = Annotated[str, Field(min_length=1)]
Labels = dict[
    Key,
    Annotated[
        str,
        Field(max_length=63),
        _matching(f"({_NAME})?", "use letters, digits, `-`, `_` and `.` only"),
    ],
]
Quantity = Annotated[
    str, BeforeValidator(_text), _matching(_QUANTITY, "write a quantity such as 500m, 0.5 or 2Gi")
]
Version = Annotated[
    str,
    BeforeValidator(_version),
    _matching(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", "write a version such as 0.15.2"),
]
Variable = Annotated[
    str,
    _matching(
        r"[-._a-zA-Z][-._a-zA-Z0-9]*",
        "use letters, digits, `-`, `_` and `.` only, and do not begin with a digit",
    ),
]
Variables = Annotated[dict[Variable, str], AfterValidator(refuse_secrets)]
Sink = Annotated[
    str,
    _matching(
        r"https?://[^/\s@]+(/\S*)?",
        "write a URL without a password, as in http://broker.logging/events",
    ),
    AfterValidator(_without_credentials),
]
SecretKey = Annotated[
    str,
    _matching(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+",
        "write the name of a Secret and a key in it, as in redis/password",
    ),
]
Address = Annotated[
    str, _matching(r"https?://[^/\s]+/?", "write scheme and host, as in https://example.com:8443")
]


class Resources(Options):
    """Resources that a container requests, and their limits.

    Attributes:
        requests: Quantities by resource, such as `{"cpu": "500m", "memory": "500Mi"}`.
        limits: Quantities by resource; a GPU is `{"nvidia.com/gpu": 1}`.
    """

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)


class Toleration(Options):
    """A taint of nodes that pods tolerate.

    Attributes:
        key, operator, value, effect: The taint.
        toleration_seconds: How long it is tolerated.
    """

    key: Key | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(
        default=None, validation_alias="tolerationSeconds", serialization_alias="tolerationSeconds"
    )


class Probe(Options):
    """When a server is restarted, or gets no calls.

    A server that explains may answer its probe late although it is healthy: allow for that here.

    Attributes:
        initial_delay: Seconds before the first probe.
        period: Seconds between two probes.
        timeout: Seconds that the answer may take.
        failures: Number of failures in a row.
    """

    initial_delay: Count = Field(default=0, validation_alias="initialDelaySeconds")
    period: Positive = Field(default=10, validation_alias="periodSeconds")
    timeout: Positive = Field(default=5, validation_alias="timeoutSeconds")
    failures: Positive = Field(default=6, validation_alias="failureThreshold")


class Logger(Options):
    """Log a model's requests with the platform's own logger, which sends them as CloudEvents.

    The logs of this package (`InsightsOptions`) also have calls to models, and redact values.

    Attributes:
        url: Where it sends them.
        mode: Whether it sends requests, responses, or both.
    """

    url: Sink
    mode: Literal["all", "request", "response"] = "all"


class ModelOptions(Options):
    """Options of one model, or of every model that does not have its own.

    Attributes:
        uri: URI of its artifact, if it differs from the declared one, such as the URI with a digest that
            `upload` returns. Set for all models, it applies to the pipeline.
        image: Image of its server; by default the platform's image for its framework. One for all models
            is not given to models on Triton beside others.
        replicas: Number of pods without an autoscaler.
        min_replicas, max_replicas: Bounds for the number of pods that an autoscaler chooses.
        target_cpu: Percent of the requested CPU at which the autoscaler adds a pod.
        resources: Resources that its container requests, and their limits.
        env: Environment variables; a model's own are added to those for all. Passwords are refused.
        env_secrets: Environment variables whose values are in Secrets, such as
            `{"TEMPO_RUNTIME_STATE__URL": "redis/url"}`: the name of a Secret, and a key in it. A model's
            own are added to those for all.
        env_from: Secrets whose keys become environment variables.
        node_selector: Labels of the nodes it may run on.
        tolerations: Taints of nodes that it tolerates.
        image_pull_secrets: Secrets for the image's registry.
        min_available: Number of pods that must stay when nodes are drained, by a PodDisruptionBudget.
        spread: Whether pods are spread over nodes.
        run_as_user: Number of the user that its container runs as, by default that of Seldon Core's pods
            and of our image; None leaves it to the cluster, as OpenShift requires.
        progress_deadline: Seconds after which a deployment that is not ready has failed.
        pin_artifact: Whether the manifest contains the digest of the artifact on this machine, so that
            pods are replaced when it changes, and a pipeline's pod refuses to serve another artifact.
        liveness, readiness: When its server is restarted, or gets no calls.
        logger: The platform's own log of its requests.
        page: Whether the server of a pipeline has a page at `/` that shows its pipelines and calls them.
            Browsers reach it through `kubectl port-forward`, or by a name in
            `env={"TEMPO_RUNTIME_PAGE_HOSTS": ...}`.
    """

    uri: Text | None = None
    image: Text | None = None
    replicas: Count = 1
    min_replicas: Positive | None = Field(default=None, validation_alias="minReplicas")
    max_replicas: Positive | None = Field(default=None, validation_alias="maxReplicas")
    target_cpu: Positive = 80
    resources: Resources = Resources()
    env: Variables = Field(default_factory=dict)
    env_secrets: dict[Variable, SecretKey] = Field(default_factory=dict)
    env_from: tuple[Name, ...] = ()
    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[Name, ...] = ()
    min_available: Positive | None = None
    spread: bool = False
    run_as_user: User | None = 8888
    progress_deadline: Positive = 600
    pin_artifact: bool = True
    liveness: Probe = Probe(initial_delay=60)
    readiness: Probe = Probe(initial_delay=5, period=5, timeout=2, failures=3)
    logger: Logger | None = None
    page: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> ModelOptions:
        if twice := sorted(self.env.keys() & self.env_secrets.keys()):
            raise ValueError(
                f"{', '.join(twice)} is in env and in env_secrets; remove one of the two"
            )
        low, high = self.min_replicas or 1, self.max_replicas
        if self.min_replicas is not None and high is None:
            raise ValueError("minReplicas is for an autoscaler; set maxReplicas, too")
        if high is not None and "replicas" in self.model_fields_set:
            raise ValueError(
                "with maxReplicas an autoscaler chooses the number of pods; leave out replicas"
            )
        if high is not None and low > high:
            raise ValueError(f"minReplicas {low} is more than maxReplicas {high}")
        return self


_SCALE = ("replicas", "min_replicas", "max_replicas")


class RemoteOptions(ModelOptions):
    """Options of a deployment on a cluster.

    Attributes:
        namespace: The namespace.
        auth_secret_name: Secret with rclone's settings for downloading artifacts.
        service_account_name: Service account of the pods, on Seldon Core v1 only of pipelines; by
            default none is needed.
        models: Options of single models, by name.
        labels: More labels for each object.
        annotations: More annotations for each object.
    """

    namespace: Name = "default"
    auth_secret_name: Name | None = Field(default=None, validation_alias="authSecretName")
    service_account_name: Name | None = Field(default=None, validation_alias="serviceAccountName")
    models: dict[str, ModelOptions] = Field(default_factory=dict)
    labels: Annotated[Labels, AfterValidator(_not_reserved)] = Field(default_factory=dict)
    annotations: Annotated[dict[Key, str], AfterValidator(_not_reserved)] = Field(
        default_factory=dict
    )

    def of(self, model: str) -> ModelOptions:
        """Return the options of one model: its own, and those for all models."""
        model_options = self.models.get(model)
        if model_options is None:
            return self
        set_values = {name: getattr(model_options, name) for name in model_options.model_fields_set}
        if not set_values.keys().isdisjoint(_SCALE):
            # These belong together: a model with its own number does not get the autoscaler of all.
            set_values |= {name: getattr(model_options, name) for name in _SCALE}
        own_names = model_options.env.keys() | model_options.env_secrets.keys()
        for name in ("env", "env_secrets"):
            shared: dict[str, str] = getattr(self, name)
            kept = {key: value for key, value in shared.items() if key not in own_names}
            set_values[name] = {**kept, **getattr(model_options, name)}
        # Both were checked; together they need not be what one may write for all models.
        return self.unchecked(**set_values)

    def stating(self, fields: Collection[str]) -> list[str]:
        """Return which of these options are set, for all models or for one, as errors name them."""
        names = sorted(self.model_fields_set.intersection(fields))
        for name, model_options in self.models.items():
            set_fields = sorted(model_options.model_fields_set.intersection(fields))
            names += [f"models.{name}.{field}" for field in set_fields]
        return names


class Canary(Options):
    """Another version of the pipeline, which gets some of the requests.

    Attributes:
        uri: URI of its artifact.
        traffic: Percent of the requests that it gets, by default 10; a shadow gets copies, by default of
            all requests.
        shadow: Whether its answers are discarded.
        image: Image of its server; by default that of the first version.
    """

    uri: Text
    traffic: Percent | None = None
    shadow: bool = False
    image: Text | None = None


class SeldonRemote(RemoteOptions):
    """More options of a deployment by Seldon Core v1.

    Attributes:
        protocol: Every version supports `kfserving`, and those from 1.13 on `v2`.
        engine: Whether calls go through Seldon's engine, which does not support streams.
        canary: Another version of the pipeline.
        ingress: Scheme, host and port of the cluster's ingress, for clients outside of it.
    """

    protocol: Literal["kfserving", "v2"] = "kfserving"
    engine: bool = Field(default=False, validation_alias="add_svc_orchestrator")
    canary: Canary | None = None
    ingress: Address | None = None


class Seldon2Remote(RemoteOptions):
    """More options of a deployment by Seldon Core 2.

    Attributes:
        server: A Server of the cluster that runs the pipelines; by default our own is deployed.
        gateway: Service of the mesh.
        memory: The expected memory of a model, by which the scheduler places it.
    """

    server: Name | None = None
    gateway: Name = "seldon-mesh"
    memory: Quantity | None = None


class KServeRemote(RemoteOptions):
    """More options of a deployment by KServe.

    Attributes:
        knative: Whether KServe deploys with Knative instead of plain Deployments.
        headless: Whether Services have no address and so no port 80, as in Open Data Hub.
        runtime: A ServingRuntime of the cluster for pipelines; by default our own is deployed.
        timeout: Seconds that a request may take.
        kserve_version: Version of the cluster's KServe, such as `0.15.2`; by default 0.16.0 or later.
            Earlier versions have other names for the modes of deployment.
    """

    knative: bool = False
    headless: bool = False
    runtime: Name | None = None
    timeout: Positive = 120
    kserve_version: Version | None = None


class SeldonCoreOptions(Options):
    """A deployment by Seldon Core v1.

    Attributes:
        local_options: Options of `deploy_local`, to try the same images and settings on this machine.
        remote_options: The deployment on Kubernetes.
    """

    local_options: DockerOptions = DockerOptions()
    remote_options: SeldonRemote = SeldonRemote()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            local_options: DockerOptions | Mapping[str, Any] = ...,
            remote_options: SeldonRemote | Mapping[str, Any] = ...,
        ) -> None: ...


class Seldon2Options(Options):
    """A deployment by Seldon Core 2.

    Attributes:
        remote_options: The deployment on Kubernetes.
    """

    remote_options: Seldon2Remote = Seldon2Remote()

    if TYPE_CHECKING:

        def __init__(self, *, remote_options: Seldon2Remote | Mapping[str, Any] = ...) -> None: ...


class KServeOptions(Options):
    """A deployment by KServe.

    Attributes:
        remote_options: The deployment on Kubernetes.
    """

    remote_options: KServeRemote = KServeRemote()

    if TYPE_CHECKING:

        def __init__(self, *, remote_options: KServeRemote | Mapping[str, Any] = ...) -> None: ...
