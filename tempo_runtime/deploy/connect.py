"""Call a model that is already served, here, on a cluster, or at any URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from tempo_runtime._util.http_request import request
from tempo_runtime.authoring.details import ModelDetails, ModelFramework
from tempo_runtime.clients.model_client import ModelClient, ModelUrl
from tempo_runtime.clients.triton import PLATFORMS, is_unknown_model
from tempo_runtime.deploy.client import RemoteModel
from tempo_runtime.deploy.deployment import GRACE, Address, Deployment, ModelStatus, Recall
from tempo_runtime.errors import ChildFailed, ChildNotFound, DeploymentFailed, PayloadError
from tempo_runtime.protocol import codec
from tempo_runtime.protocol.signature import Signature
from tempo_runtime.servers.process import is_ready

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform


def connect(
    target: str,
    options: RemotePlatform | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> RemoteModel[Any, ...]:
    """Return a model that is already served, to call it: after a restart, or from another process.

    Its arguments are those that the server states, so a notebook completes and checks them. A `with`
    block closes the connection at its end, and the model stays.

    Args:
        target: A URL (`http://HOST:PORT/v2/models/NAME`, `grpc://HOST:PORT/NAME`, or `http://HOST:PORT`
            if the server has one pipeline), or the name of a deployment.
        options: Options that it was deployed with, if it is on a cluster.
        headers: Headers of each call to a URL; they may be secret.
        timeout: Seconds that the server may take to describe the model.

    Raises:
        PayloadError: If the URL cannot be used.
        DeploymentFailed: If there is no such deployment, the server has several pipelines, or an argument
            does not go with the target.
        ChildError: If the server or the model does not answer.

    Example:
        >>> from tempo_runtime import connect, model
        >>> from tempo_runtime.testing import FakeModel
        >>> with FakeModel("double", lambda value: 2 * value) as fake:
        ...     connect(f"{fake.url}/v2/models/double").predict(21)
        array([42])
    """
    if "://" in target and options is not None:
        raise DeploymentFailed("options are for the name of a deployment; a URL does not need them")
    if "://" not in target and headers:
        raise DeploymentFailed("headers are for a URL; a deployment knows those that it needs")
    if "://" in target:
        url = _chosen(target, headers or {}, timeout)
        place: Deployment = _AtUrl(url, dict(headers or {}))
        return RemoteModel(_described(url, headers or {}, timeout), place, connected=True)
    if options is not None:
        from tempo_runtime.deploy.kubernetes.deploy import get_client

        known = get_client(target, options)
        return RemoteModel(known.details, known.deployment, connected=True)
    from tempo_runtime.deploy.local import find

    deployment = find.get(target)
    main = deployment.main()
    url = ModelUrl(main.url, main.model, None)
    return RemoteModel(_described(url, main.headers, timeout), deployment, connected=True)


class _AtUrl(Deployment):
    """A model that something else has deployed.

    Args:
        url: Its URL.
        headers: Headers of each call.
    """

    target: ClassVar[str] = "url"
    created = ""
    owner = None
    up = True

    def __init__(self, url: ModelUrl, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._url.name

    @property
    def id(self) -> str:
        """Its URL."""
        return self.endpoint

    @property
    def transport(self) -> str:
        """How it is called."""
        return "grpc" if self._url.server.startswith("grpc") else "http"

    def main(self) -> Address:
        """Return its address, which is the same for both transports."""
        return Address(
            self._url.name,
            self._url.server,
            self._url.server,
            self._headers,
            self._url.version,
        )

    def models(self) -> list[ModelStatus]:
        """Return its status; over gRPC and TLS only calls tell whether it is ready."""
        state = "unknown"
        if self._url.server.startswith("http:"):
            state = "ready" if is_ready(self._url.server, self._url.name, 5) else "not ready"
        return [ModelStatus(self.name, state, self._url.server, self._url.server, "elsewhere")]

    def logs(self, model: str | None = None) -> dict[str, str]:
        """Refuse: the logs are where it was deployed."""
        raise self._elsewhere("its logs are there")

    def undeploy(self, grace: float = GRACE) -> None:
        """Refuse: only what deployed it can end it."""
        raise self._elsewhere("undeploy it there")

    def recall(self) -> Recall:
        """Return its URL; headers may be secret, so they do not go into a pickle.

        Raises:
            DeploymentFailed: If its calls need headers.
        """
        if self._headers:
            raise DeploymentFailed(
                f"{self.name} at {self._url.server} is called with headers, which may be secret, so the "
                "client cannot be pickled; connect again where you need it"
            )
        return Recall(self.main(), __name__, _AtUrl.__name__, (self._url, {}))

    def _elsewhere(self, remedy: str) -> DeploymentFailed:
        return DeploymentFailed(
            f"{self.name} at {self._url.server} was deployed by something else; {remedy}"
        )


def _chosen(target: str, headers: Mapping[str, str], timeout: float) -> ModelUrl:
    """Return the URL of a model; that of a server with one pipeline is enough."""
    parts = urlsplit(target)
    if ModelUrl.names_a_model(target) or parts.scheme != "http":
        return ModelUrl.of(target)
    if not parts.hostname or "@" in parts.netloc:
        raise PayloadError(
            "the target's URL must be http://HOST:PORT, without a user or a password; use `headers`"
        )
    server = target.rstrip("/")
    try:
        answer = request(f"{server}/v2/repository/index", timeout, body=b"{}", headers=headers)
        names = [str(model["name"]) for model in json.loads(answer.body)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DeploymentFailed(
            f"{server} does not list its models ({error!r}); write {server}/v2/models/NAME"
        ) from error
    pipelines = [name for name in names if _is_pipeline(server, name, headers, timeout)] or names
    if len(pipelines) != 1:
        raise DeploymentFailed(
            f"{server} has the models {', '.join(names) or '(none)'}; write {server}/v2/models/NAME"
        )
    return ModelUrl(server, pipelines[0], None)


def _is_pipeline(server: str, name: str, headers: Mapping[str, str], timeout: float) -> bool:
    try:
        answer = request(f"{server}/v2/models/{name}", timeout, headers=headers)
        return bool(json.loads(answer.body).get("platform") == ModelFramework.TempoPipeline.value)
    except (OSError, ValueError, AttributeError):
        return False


def _described(url: ModelUrl, headers: Mapping[str, str], timeout: float) -> ModelDetails:
    """Return the details of a model, as its server states them."""
    client = ModelClient.at(url, headers)
    try:
        metadata = client.portal.run(client.metadata(timeout))
    except ChildNotFound:
        raise
    except ChildFailed as error:
        if is_unknown_model(str(error)):  # as Triton says it
            raise
        metadata = {}  # a server need not have metadata
    finally:
        client.portal.run(client.transport.close())
    platform, inputs = str(metadata.get("platform") or ""), metadata.get("inputs") or []
    if platform == ModelFramework.TempoPipeline.value:
        framework = ModelFramework.TempoPipeline
    else:
        # MLServer does not state a framework, and its own are all called like scikit-learn's.
        framework = (
            ModelFramework.Triton if platform.startswith(PLATFORMS) else ModelFramework.SKLearn
        )
    signature = Signature(tuple(map(codec.spec_described, inputs))) if inputs else None
    return ModelDetails.served(url.name, framework, signature)
