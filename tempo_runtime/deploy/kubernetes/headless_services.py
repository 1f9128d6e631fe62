"""Find KServe's Services that have no address and need a different manifest."""

from __future__ import annotations

from collections.abc import Iterable

from tempo_runtime.deploy.kubernetes.addresses import KSERVE_HTTP
from tempo_runtime.deploy.kubernetes.api_errors import ApiError, Resource
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
from tempo_runtime.deploy.kubernetes.manifests.options import KServeOptions
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.errors import DeploymentFailed

_SERVICE = Resource("", "v1", "services", "Service")


def refuse_headless(api: Api, options: RemotePlatform, children: Iterable[str]) -> None:
    """Refuse children whose Services lack the port at which their pipeline calls them.

    KServe creates Services without an address if its ConfigMap sets serviceClusterIPNone
    (pkg/controller/v1beta1/inferenceservice/reconcilers/service/service_reconciler.go). Only the
    Service itself shows this. Without the right to read Services, nothing is checked.

    Args:
        api: The cluster's API.
        options: How the models are deployed.
        children: Names of the models that are called.

    Raises:
        DeploymentFailed: If such a Service is called at port 80.
    """
    if not isinstance(options, KServeOptions):
        return
    remote = options.remote_options
    if remote.headless or remote.knative:
        return
    for name in children:
        try:
            service = api.get(_SERVICE, remote.namespace, f"{name}-predictor")
        except ApiError as refused:
            if not refused.forbidden:
                raise
            return
        if service is not None and service["spec"].get("clusterIP") == "None":
            raise DeploymentFailed(
                f"{name} cannot be called at port 80: the Services of this KServe have no address, so "
                f"only their pods' port {KSERVE_HTTP} works; set headless to true, and deploy again"
            )
