"""Apply the objects of a deployment, step by step.

Nothing is applied before the cluster has accepted all objects in a dry run. If applying fails or is
interrupted, the applied objects stay, as with kubectl, and the error names them: their pods show the
cause, and deploying again continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tempo_runtime.clients.failures import NOT_READY
from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, ApiError, line, not_managed
from tempo_runtime.deploy.kubernetes.connection import ApiConnection, Deadline
from tempo_runtime.deploy.kubernetes.deployment import ClusterDeployment
from tempo_runtime.deploy.kubernetes.headless_services import refuse_headless
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform, seldon2
from tempo_runtime.deploy.kubernetes.manifests.seldon import (
    TARGET,  # the only platform with an ingress
)
from tempo_runtime.deploy.kubernetes.members import Key, key_of, members, sharers
from tempo_runtime.deploy.kubernetes.ownership import (
    TAKEN,
    at_least,
    claimed,
    keep_pin,
    refuse_change,
)
from tempo_runtime.deploy.kubernetes.platforms import is_ours, platform_of
from tempo_runtime.deploy.kubernetes.readiness import ReadinessMonitor, wait_until_gone
from tempo_runtime.deploy.kubernetes.session import SERVER, Api, resource_of
from tempo_runtime.deploy.kubernetes.status import tried_again
from tempo_runtime.deploy.kubernetes.undeploy import remove
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.request.portal import background

Tell = Callable[[str], object]
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
_LONGEST_ANSWER = 400
_NO_DRY_RUN = "does not support dry run"


class Rollout:
    """Applies the objects of one deployment.

    Args:
        connection: The connection to the cluster.
        deadline: The deadline.
        options: The platform's options.
        documents: The objects, that of the main model first.

    Attributes:
        documents: The objects as they are applied.
        live: The objects on the cluster, by kind and name; None for one that does not exist.
        applied: Kind and name of each applied object.
    """

    def __init__(
        self,
        connection: ApiConnection,
        deadline: Deadline,
        options: RemotePlatform,
        documents: Sequence[dict[str, Any]],
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._options = options
        self._namespace = options.remote_options.namespace
        self._api = Api(connection, deadline)
        self._name: str = documents[0]["metadata"]["name"]
        self.documents = list(documents)
        self.live: dict[Key, dict[str, Any] | None] = {}
        self.applied: list[str] = []
        self._applying = ""

    def read_live_state(self) -> None:
        """Read the objects on the cluster, and wait for those that are being deleted.

        Raises:
            DeploymentFailed: If tempo-runtime does not manage one of them.
        """
        self.live = {key_of(document): self._read(document) for document in self.documents}
        self.documents = [
            tried_again(keep_pin(at_least(document, live), live, self._name), live)
            for document in self.documents
            for live in [self.live[key_of(document)]]
        ]

    def check(self) -> list[dict[str, Any]]:
        """Let the cluster check all objects without changing anything.

        Returns:
            The objects as they would become.

        Raises:
            DeploymentFailed: If an object is refused, or would change for another pipeline.
        """
        results = []
        for index, document in enumerate(self.documents):
            try:
                item = self._dry_run(document)
            except ApiError as refused:
                if (older := seldon2.for_older(document, str(refused))) is None:
                    raise
                self.documents[index] = older
                item = self._dry_run(older)
            results.append(item)
        return results

    def obsolete(self) -> list[dict[str, Any]]:
        """Return the objects from the previous deployment that would be deleted.

        Raises:
            DeploymentFailed: If they may not be listed.
        """
        wanted = set(map(key_of, self.documents))
        deployed = members(self._api, platform_of(self._options), self._namespace, self._name)
        return [item for item in deployed if key_of(item) not in wanted and not self._sharers(item)]

    def run(self, tell: Tell | None) -> ClusterDeployment:
        """Apply the objects, and wait until their models are ready and can be called.

        Args:
            tell: Called with a description of what is waited for.

        Returns:
            The deployment.

        Raises:
            DeploymentFailed: If this fails or takes too long.
        """
        platform = platform_of(self._options)
        kind = platform.model.kind
        names = [name for object_kind, name in map(key_of, self.documents) if object_kind == kind]
        with ReadinessMonitor(
            self._connection, self._deadline, platform, self._namespace
        ) as monitor:
            for document in reversed(self.documents):  # children before their callers
                item = self._apply(document)
                monitor.applied(item)
            for document in self.documents:
                if document["kind"] == SERVER.kind:
                    # If someone undeployed another pipeline before these Models existed, their Server
                    # may have been deleted as unused.
                    self._apply(document)
            monitor.wait_until_ready(names, tell)
        refuse_headless(self._api, self._options, [name for name in names if name != self._name])
        main = self._api.get(platform.model, self._namespace, self._name)
        if main is None:
            raise DeploymentFailed(f"{self._name} was deleted during the deployment")
        deployment = ClusterDeployment(self._connection, self._options, main)
        if tell is not None:
            tell("checking that it can be called")
        try:
            wait_until_callable(deployment, self._deadline)
            keep = set(map(key_of, self.documents))
            remove(self._connection, self._deadline, platform, self._namespace, self._name, keep)
        except BaseException:
            deployment.close()
            raise
        return deployment

    def describe_leftovers(self) -> str:
        """Return which objects were or may have been applied, and what to do; empty if none were."""
        parts = []
        if self.applied:
            parts.append(f"applied so far: {', '.join(self.applied)}")
        if self._applying:
            parts.append(f"{self._applying} may have been applied")
        if parts:
            parts.append("deploy again to continue, or undeploy")
        return "; ".join(parts)

    def _read(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Return the object of a document's kind and name on the cluster; None if it does not exist.

        Raises:
            DeploymentFailed: If tempo-runtime does not manage it, or its deletion does not end.
        """
        call = self._call(document)
        item = self._api.get(call.resource, self._namespace, call.name)
        if item is None:
            return None
        if not is_ours(item):
            raise not_managed(call, item)
        if item["metadata"].get("deletionTimestamp"):
            gone = {item["metadata"]["uid"]: call}
            wait_until_gone(self._connection, self._deadline, self._namespace, gone)
            return None
        return item

    def _dry_run(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return an object as it would become, or unchanged if a webhook does not support dry runs."""
        try:
            item = self._api.apply(document, dry_run=True, over=TAKEN.get(document["kind"], ()))
        except ApiError as refused:
            if _NO_DRY_RUN not in str(refused):
                raise
            return document
        live = self.live[key_of(document)]
        if live is not None and document["metadata"]["name"] != self._name:
            refuse_change(live, item, self._sharers(live))
        return item

    def _sharers(self, live: dict[str, Any]) -> set[str]:
        """Return the names of the other models that an object is deployed with."""
        return sharers(self._api, live) - {self._name}

    def _apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Apply an object, and label it as deployed with this model."""
        call = self._call(document)
        live = self._read(document)
        # Label it first, so that nobody deletes it while undeploying another pipeline.
        if live is not None and not self._claim(call, live):
            live = self._read(document)
        document = at_least(document, live)
        if live is not None:
            # With the uid, an object that has replaced it since then is refused.
            metadata = {**document["metadata"], "uid": live["metadata"]["uid"]}
            document = {**document, "metadata": metadata}
        self._applying = str(call)  # after an interrupt or a lost answer it is unknown
        try:
            item = self._api.apply(document, over=TAKEN.get(document["kind"], ()))
        except ApiError:
            self._applying = ""
            raise
        if self._applying not in self.applied:
            self.applied.append(self._applying)
        self._applying = ""
        self._claim(call, item)
        return item

    def _claim(self, call: ApiCall, item: dict[str, Any]) -> bool:
        """Label an object as deployed with this model; return whether it still exists and stays."""
        if not (labels := claimed(item, self._name)):
            return True
        labelled = self._api.relabel(replace(call, verb="patch"), labels)
        return labelled is not None and "deletionTimestamp" not in labelled["metadata"]

    def _call(self, document: dict[str, Any]) -> ApiCall:
        name = document["metadata"]["name"]
        return ApiCall("get", resource_of(document), self._namespace, name)


def wait_until_callable(deployment: ClusterDeployment, deadline: Deadline) -> None:
    """Wait until a model is ready at the address that callers use.

    An ingress or a mesh learns about models with a delay, so every answer but a refusal is retried.

    Raises:
        DeploymentFailed: If it is not ready by the deadline, or calls are refused.
    """
    import aiohttp

    main = deployment.main()
    url = f"{main.url}/v2/models/{main.model}/ready"
    delay = _FIRST_DELAY
    while True:
        try:
            code, text = background().run(_asked_once(url, main.headers, deadline))
            if code == 200 or (deployment.target == seldon2.TARGET and _by_agent(code, text)):
                return
            failure = f"{code} {text}"
            if code in (401, 403):
                raise DeploymentFailed(
                    f"{main.model} is ready on the cluster, but cannot be called from here: {failure}; "
                    f"{_remedy(deployment, main.url)}"
                )
        except aiohttp.ClientError as error:
            failure = line(str(error)) or type(error).__name__
        if delay >= deadline.left:
            raise DeploymentFailed(
                f"{main.model} is ready on the cluster, but not at {url} after "
                f"{deadline.seconds:g} seconds ({failure})"
                + ("; check that the ingress is right" if deployment.ingress else "")
            )
        time.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


def _by_agent(code: int, text: str) -> bool:
    """Return whether an answer to "ready" is from the agent of Seldon Core 2 beside a model's server.

    From 2.10 on the agent only knows the call `infer` over HTTP, and answers others with 400 and a text
    (scheduler/pkg/translator/utils.go, GetPathTermination). The model's condition already says that it is
    loaded, so only the mesh's route was missing: without a route the mesh answers 404, and without a
    server 503. MLServer answers 400 without a text if a model is not ready.
    """
    return code == 400 and bool(text) and NOT_READY not in text


def _remedy(deployment: ClusterDeployment, url: str) -> str:
    """Return the remedy for refused calls."""
    if deployment.proxied:
        ingress = ", or set ingress in remote_options" if deployment.target == TARGET else ""
        return f"get the right to `get` and `create` services/proxy, as in k8s/rbac{ingress}"
    other = ", or leave the ingress out of remote_options" if deployment.ingress else ""
    return f"make the gateway that protects {url} accept calls of models{other}"


async def _asked_once(url: str, headers: Mapping[str, str], deadline: Deadline) -> tuple[int, str]:
    """Return the status and the text of an answer; of a long or slow one, the beginning of its text."""
    import aiohttp

    wait = max(0.1, min(10.0, deadline.left))
    timeout = aiohttp.ClientTimeout(sock_connect=wait, sock_read=wait)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        content = b""
        async for part in answer.content.iter_any():
            content += part
            if len(content) > _LONGEST_ANSWER or not deadline.left:
                break
        return answer.status, line(content)
