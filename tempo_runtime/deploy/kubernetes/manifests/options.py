"""How a pipeline is deployed on Kubernetes, by each of the platforms."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tempo_runtime.deploy.kubernetes.manifests.annotation import KEPT
from tempo_runtime.deploy.kubernetes.secrets import refuse_secrets
from tempo_runtime.deploy.options import DockerOptions, Options


def _text(value: Any) -> Any:
    """Return a number as the text of a quantity: 0.5 is none to a custom resource, "0.5" is."""
    return str(value) if type(value) in (int, float) else value


def _version(value: Any) -> Any:
    """Refuse a number, because YAML and JSON read 0.20 as 0.2."""
    if isinstance(value, float):
        raise ValueError("write all three parts of the version, such as 0.15.2")
    return value


def _free(values: dict[str, str]) -> dict[str, str]:
    if kept := sorted(KEPT.intersection(values)):
        raise ValueError(f"{', '.join(kept)} says what is ours, and is written here; leave it out")
    return values


def _number(value: Any) -> Any:
    """Refuse a boolean: YAML takes `no` and `off` for false, and false would be 0."""
    if isinstance(value, bool):
        raise ValueError(f"Input should be a number, not {str(value).lower()}")
    return value


def _like(pattern: str, words: str) -> AfterValidator:
    """Refuse text that is not of a pattern, and say in words what it is to be."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)


_QUANTITY = r"(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?"
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"

Count = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Some = Annotated[int, BeforeValidator(_number), Field(ge=1)]
User = Annotated[int, BeforeValidator(_number), Field(ge=1, le=2**31 - 1)]  # 0 is root
Percent = Annotated[int, BeforeValidator(_number), Field(ge=1, le=100)]
Name = Annotated[
    str,
    Field(max_length=63),
    _like(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "use lowercase letters and digits, with `-` only between them",
    ),
]
Key = Annotated[
    str,
    _like(
        rf"({_PREFIX}/)?{_NAME}", "use letters, digits, `-`, `_` and `.`, as in example.com/team"
    ),
]
Text = Annotated[str, Field(min_length=1)]
Labels = dict[
    Key,
    Annotated[
        str,
        Field(max_length=63),
        _like(f"({_NAME})?", "use letters, digits, `-`, `_` and `.` only"),
    ],
]
Quantity = Annotated[
    str, BeforeValidator(_text), _like(_QUANTITY, "write a quantity such as 500m, 0.5 or 2Gi")
]
Version = Annotated[
    str,
    BeforeValidator(_version),
    _like(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", "write a version such as 0.15.2"),
]
Variable = Annotated[
    str,
    _like(
        r"[-._a-zA-Z][-._a-zA-Z0-9]*",
        "use letters, digits, `-`, `_` and `.` only, and do not begin with a digit",
    ),
]
Variables = Annotated[dict[Variable, str], AfterValidator(refuse_secrets)]
Address = Annotated[
    str, _like(r"https?://[^/\s]+/?", "write scheme and host, as in https://example.com:8443")
]


class Resources(Options):
    """What a container is promised, and what it may use.

    Attributes:
        requests: Quantities by resource, such as `{"cpu": "500m", "memory": "500Mi"}`.
        limits: Likewise; a GPU is `{"nvidia.com/gpu": 1}`.
    """

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)


class Toleration(Options):
    """A taint of nodes that pods bear.

    Attributes:
        key, operator, value, effect: Which taint.
        toleration_seconds: How long it is borne.
    """

    key: Key | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(
        default=None, validation_alias="tolerationSeconds", serialization_alias="tolerationSeconds"
    )


class Probe(Options):
    """When a server is restarted, or left out.

    A server that explains answers its probe late, and is not ill: these numbers say when it is.

    Attributes:
        initial_delay: Seconds before the first.
        period: Seconds between two.
        timeout: Seconds for the answer.
        failures: How many in a row.
    """

    initial_delay: Count = Field(default=0, validation_alias="initialDelaySeconds")
    period: Some = Field(default=10, validation_alias="periodSeconds")
    timeout: Some = Field(default=5, validation_alias="timeoutSeconds")
    failures: Some = Field(default=6, validation_alias="failureThreshold")


class ModelOptions(Options):
    """What one model has, or every model that has none of its own.

    Attributes:
        uri: Where its artifact is, if not at the uri that it was declared with: such as the one with its
            digest that `upload` gave. Stated for all, it is the pipeline's.
        image: Image of its server; by default the platform's for its framework.
        replicas: How many pods, where no autoscaler chooses.
        min_replicas, max_replicas: Between how many an autoscaler may choose.
        target_cpu: Percent of the requested processor at which the autoscaler adds a pod.
        resources: What its container is promised, and may use.
        env: Environment variables; a model's own are added to those of all. Passwords are refused.
        env_from: Secrets whose keys become environment variables.
        node_selector: Labels of the nodes it may run on.
        tolerations: Taints of nodes that it bears.
        image_pull_secrets: Secrets for the image's registry.
        min_available: Pods that a drained node must leave: a PodDisruptionBudget.
        spread: Whether pods are spread over nodes.
        run_as_user: Number of the user that its container runs as, by default that of Seldon Core's pods
            and of our image; None leaves it to the cluster, as OpenShift wants.
        progress_deadline: Seconds after which a deployment that does not come up has failed.
        pin_artifact: Whether the manifest names the digest of the artifact on this machine, so that
            pods are made anew when it changes, and a pipeline's pod refuses to serve another one.
        liveness, readiness: When its server is restarted, or left out.
    """

    uri: Text | None = None
    image: Text | None = None
    replicas: Count = 1
    min_replicas: Some | None = Field(default=None, validation_alias="minReplicas")
    max_replicas: Some | None = Field(default=None, validation_alias="maxReplicas")
    target_cpu: Some = 80
    resources: Resources = Resources()
    env: Variables = Field(default_factory=dict)
    env_from: tuple[Name, ...] = ()
    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    image_pull_secrets: tuple[Name, ...] = ()
    min_available: Some | None = None
    spread: bool = False
    run_as_user: User | None = 8888
    progress_deadline: Some = 600
    pin_artifact: bool = True
    liveness: Probe = Probe(initial_delay=60)
    readiness: Probe = Probe(initial_delay=5, period=5, timeout=2, failures=3)

    @model_validator(mode="after")
    def _bounds(self) -> ModelOptions:
        low, high = self.min_replicas or 1, self.max_replicas
        if self.min_replicas is not None and high is None:
            raise ValueError("minReplicas is for an autoscaler; give maxReplicas too")
        if high is not None and "replicas" in self.model_fields_set:
            raise ValueError("with maxReplicas an autoscaler says how many; leave replicas out")
        if high is not None and low > high:
            raise ValueError(f"minReplicas {low} is more than maxReplicas {high}")
        return self


_SCALE = ("replicas", "min_replicas", "max_replicas")


class RemoteOptions(ModelOptions):
    """What a deployment on a cluster has.

    Attributes:
        namespace: Its namespace.
        auth_secret_name: Secret with rclone's settings, with which artifacts are downloaded.
        service_account_name: Service account of its pods, on Seldon Core v1 of pipelines only; none is
            needed.
        models: By the name of a model, what it has of its own.
        labels: More labels of each object.
        annotations: More annotations of each object.
    """

    namespace: Name = "default"
    auth_secret_name: Name | None = Field(default=None, validation_alias="authSecretName")
    service_account_name: Name | None = Field(default=None, validation_alias="serviceAccountName")
    models: dict[str, ModelOptions] = Field(default_factory=dict)
    labels: Annotated[Labels, AfterValidator(_free)] = Field(default_factory=dict)
    annotations: Annotated[dict[Key, str], AfterValidator(_free)] = Field(default_factory=dict)

    def of(self, model: str) -> ModelOptions:
        """Return what one model has: what is its own, over what all have."""
        own = self.models.get(model)
        if own is None:
            return self
        stated = {name: getattr(own, name) for name in own.model_fields_set}
        if not stated.keys().isdisjoint(_SCALE):
            # Bounds are one choice: a number of its own is not for the autoscaler that all have.
            stated |= {name: getattr(own, name) for name in _SCALE}
        if "env" in stated:
            stated["env"] = {**self.env, **own.env}
        return self.model_copy(update=stated)

    def stating(self, fields: Collection[str]) -> list[str]:
        """Return which of these options are stated, for all models or for one, as errors name them."""
        found = sorted(self.model_fields_set.intersection(fields))
        for name, own in self.models.items():
            both = sorted(own.model_fields_set.intersection(fields))
            found += [f"models.{name}.{field}" for field in both]
        return found


class Canary(Options):
    """Another version of the pipeline, which gets a part of the requests.

    Attributes:
        uri: Its artifact.
        traffic: Percent of the requests that it gets, by default 10; as a shadow, which it is sent as
            well, by default all.
        shadow: Whether its answers are thrown away.
        image: Image of its server, if not that of the first.
    """

    uri: Text
    traffic: Percent | None = None
    shadow: bool = False
    image: Text | None = None


class SeldonRemote(RemoteOptions):
    """What a deployment by Seldon Core v1 has besides.

    Attributes:
        protocol: `kfserving` is understood by every version, `v2` from 1.13 on.
        engine: Whether calls go through Seldon's engine, which knows no streams.
        canary: Another version of the pipeline.
        ingress: Scheme, host and port of the cluster's ingress, for clients outside of it.
    """

    protocol: Literal["kfserving", "v2"] = "kfserving"
    engine: bool = Field(default=False, validation_alias="add_svc_orchestrator")
    canary: Canary | None = None
    ingress: Address | None = None


class Seldon2Remote(RemoteOptions):
    """What a deployment by Seldon Core 2 has besides.

    Attributes:
        server: A Server of the cluster that runs the pipelines; by default one of our own is written.
        gateway: Service of the mesh.
        memory: What a model is thought to take, by which the scheduler places it.
    """

    server: Name | None = None
    gateway: Name = "seldon-mesh"
    memory: Quantity | None = None


class KServeRemote(RemoteOptions):
    """What a deployment by KServe has besides.

    Attributes:
        knative: Whether KServe deploys by Knative, and not as plain Deployments.
        headless: Whether Services have no address of their own, and so no port 80, as Open Data Hub's.
        runtime: A ServingRuntime of the cluster for pipelines; by default one of our own is written.
        timeout: Seconds that a request may take.
        kserve_version: Version of the cluster's KServe, such as `0.15.2`; by default 0.16.0 or later.
            Earlier ones have other names for how a service is deployed.
    """

    knative: bool = False
    headless: bool = False
    runtime: Name | None = None
    timeout: Some = 120
    kserve_version: Version | None = None


class SeldonCoreOptions(Options):
    """A deployment by Seldon Core v1.

    Attributes:
        local_options: Its rehearsal by `deploy_local`, with the same images and settings.
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
