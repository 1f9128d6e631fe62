"""A pipeline and the models it calls on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempo_runtime.deploy.deployment import GRACE, Address, Deployment, ModelStatus, Recall
from tempo_runtime.deploy.kubernetes.connection import QUERY_SECONDS, ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
from tempo_runtime.deploy.kubernetes.manifests.options import KServeOptions, SeldonCoreOptions
from tempo_runtime.deploy.kubernetes.members import models, progress_of
from tempo_runtime.deploy.kubernetes.platforms import endpoint, platform_of, service
from tempo_runtime.deploy.kubernetes.pod_logs import PodLogs
from tempo_runtime.deploy.kubernetes.service_proxy import ServiceProxy
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.deploy.kubernetes.undeploy import remove
from tempo_runtime.errors import DeploymentFailed

_REMOVED = 300.0
_STATES = {"ready": "ready", "gone": "ended"}


class ClusterDeployment(Deployment):
    """A deployment on a cluster.

    Args:
        connection: The connection to the cluster.
        options: The platform's options.
        main: The object of the main model, which users call.
    """

    def __init__(
        self, connection: ApiConnection, options: RemotePlatform, main: Mapping[str, Any]
    ) -> None:
        self._connection = connection
        self._options = options
        self._main = main
        self._platform = platform_of(options)
        self.target = self._platform.target  # type: ignore[misc]  # one class for three platforms
        self._namespace = options.remote_options.namespace
        self._proxy: ServiceProxy | None = None
        self._up = True

    @property
    def name(self) -> str:
        """See `Deployment.name`."""
        return str(self._main["metadata"]["name"])

    @property
    def id(self) -> str:
        """See `Deployment.id`; it is the uid of the main object."""
        return str(self._main["metadata"]["uid"])

    @property
    def transport(self) -> str:
        """See `Deployment.transport`; the cluster's API forwards only HTTP."""
        return "http"

    @property
    def created(self) -> str:
        """See `Deployment.created`."""
        return str(self._main["metadata"].get("creationTimestamp", ""))

    @property
    def owner(self) -> int | None:
        """See `Deployment.owner`; a deployment on a cluster has none."""
        return None

    @property
    def up(self) -> bool:
        """See `Deployment.up`."""
        if not self._up:
            return False
        api = self._api()
        item = api.get(self._platform.model, self._namespace, self.name)
        return item is not None and item["metadata"]["uid"] == self.id

    @property
    def ingress(self) -> str | None:
        """The ingress through which the model is called; None if the options name none."""
        options = self._options
        return options.remote_options.ingress if isinstance(options, SeldonCoreOptions) else None

    @property
    def proxied(self) -> bool:
        """Whether the model is called through the cluster's API."""
        return self._proxy is not None

    def main(self) -> Address:
        """See `Deployment.main`: the ingress, the Service in the cluster, or a local port."""
        if not self._up:
            raise DeploymentFailed(f"{self.name} was undeployed; deploy it again")
        where = endpoint(self.name, self._options)
        if self.ingress or self._connection.inside:
            return Address(self.name, where.url, where.grpc, where.headers)
        if isinstance(self._options, KServeOptions) and self._options.remote_options.knative:
            # Its Service is an alias of Knative's gateway, and the API does not forward to that.
            url = str((self._main.get("status") or {}).get("url") or where.url)
            return Address(self.name, url.rstrip("/"), where.grpc, where.headers)
        if self._proxy is None:
            self._proxy = ServiceProxy(self._connection, service(self.name, self._options))
        return Address(self.name, self._proxy.url, where.grpc, self._proxy.headers)

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        if not self._up:
            return []
        api = self._api()
        progress_by_name = progress_of(api, self._platform, self._namespace, self._models(api))
        statuses = []
        for name, progress in progress_by_name.items():
            where = endpoint(name, self._options)
            state = _STATES.get(progress.state, "not ready")
            place = f"{self._platform.model.kind} {name} in {self._namespace}"
            headers = dict(where.headers)
            statuses.append(
                ModelStatus(name, state, where.url, where.grpc, place, headers, progress.reason)
            )
        return statuses

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`; the last 1000 lines of each pod, one pod after the other."""
        if not self._up:
            return {}
        names = [name for name in self._models(self._api()) if model in (None, name)]
        if not names:
            return {}
        pods = PodLogs(
            self._connection, self._platform, self._namespace, self.name, model=model
        ).read()
        return {name: "".join(log.text for log in pods if name in log.models) for name in names}

    def undeploy(self, grace: float = GRACE) -> None:
        """Delete it and wait until it is gone. A second call does nothing.

        Args:
            grace: Seconds in addition to the pods' own time to stop.

        Raises:
            DeploymentFailed: If it may not be deleted, or still exists after five minutes.
        """
        if not self._up:
            return
        deadline = Deadline(_REMOVED + grace)
        remove(self._connection, deadline, self._platform, self._namespace, self.name)
        self._up = False
        self.close()

    def recall(self) -> Recall:
        """See `Deployment.recall`; the address is looked up, because it may need credentials."""
        if not self._up:
            raise DeploymentFailed(f"{self.name} was undeployed; deploy it again")
        remote = self._options.remote_options
        # Variables may be secret, and a client does not need them.
        remote = remote.model_copy(update={"env": {}, "models": {}})
        options = self._options.model_copy(update={"remote_options": remote})
        module = "tempo_runtime.deploy.kubernetes.deploy"
        return Recall(None, module, "find_deployment", (self.name, self.id, options))

    def close(self) -> None:
        """Close the connections to it; the deployment stays."""
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.close()
        self._connection.close()

    def _api(self) -> Api:
        return Api(self._connection, Deadline(QUERY_SECONDS))

    def _models(self, api: Api) -> dict[str, dict[str, Any]]:
        return models(api, self._platform, self._namespace, self.name)
