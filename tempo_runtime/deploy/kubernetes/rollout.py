"""Applying the objects of a deployment, one step after another.

Nothing is applied before the cluster has agreed to all of it. What was applied stays when the rest
fails or is interrupted, as with kubectl, and is named: its pods tell why, and deploying again goes on.
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
    TARGET,  # the platform that has an ingress
)
from tempo_runtime.deploy.kubernetes.members import Key, key_of, members, sharers
from tempo_runtime.deploy.kubernetes.ownership import (
    TAKEN,
    at_least,
    claimed,
    keep_pin,
    refuse_change,
)
from tempo_runtime.deploy.kubernetes.platforms import common, is_ours, platform_of
from tempo_runtime.deploy.kubernetes.readiness import Following, until_gone
from tempo_runtime.deploy.kubernetes.session import SERVER, Api, resource_of
from tempo_runtime.deploy.kubernetes.status import tried_again
from tempo_runtime.deploy.kubernetes.undeploy import remove
from tempo_runtime.errors import DeploymentFailed
from tempo_runtime.request.portal import background

Tell = Callable[[str], object]
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
_TOLD = 400
_NO_DRY_RUN = "does not support dry run"


class Rollout:
    """The objects of one deployment on their way to the cluster.

    Args:
        connection: Where the cluster is.
        deadline: Until when.
        options: Of the platform.
        documents: The objects, that of the model which people call first being the first.

    Attributes:
        documents: The objects as they are applied.
        live: What is there, by kind and name.
        applied: What was applied, as kind and name.
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
        self._namespace = common(options).namespace
        self._api = Api(connection, deadline)
        self._name: str = documents[0]["metadata"]["name"]
        self.documents = list(documents)
        self.live: dict[Key, dict[str, Any] | None] = {}
        self.applied: list[str] = []
        self._applying = ""

    def read_live_state(self) -> None:
        """Read what is there, and wait for what is being deleted.

        Raises:
            DeploymentFailed: If something there is not ours.
        """
        self.live = {key_of(document): self._read(document) for document in self.documents}
        self.documents = [
            tried_again(keep_pin(at_least(document, live), live, self._name), live)
            for document in self.documents
            for live in [self.live[key_of(document)]]
        ]

    def check(self) -> list[dict[str, Any]]:
        """Has the cluster check all of it, and change nothing.

        Returns:
            The objects as they would be.

        Raises:
            DeploymentFailed: If it refuses one, or one would change under another pipeline.
        """
        found = []
        for index, document in enumerate(self.documents):
            try:
                item = self._dry_run(document)
            except ApiError as refused:
                if (older := seldon2.for_older(document, str(refused))) is None:
                    raise
                self.documents[index] = older
                item = self._dry_run(older)
            found.append(item)
        return found

    def superfluous(self) -> list[dict[str, Any]]:
        """Return what was deployed with it before, and would be deleted.

        Raises:
            DeploymentFailed: If it may not be listed.
        """
        wanted = set(map(key_of, self.documents))
        found = members(self._api, platform_of(self._options), self._namespace, self._name)
        return [item for item in found if key_of(item) not in wanted and not self._sharers(item)]

    def run(self, tell: Tell | None) -> ClusterDeployment:
        """Apply it, and wait until its models are ready and can be called.

        Args:
            tell: Called with what is waited for.

        Returns:
            The deployment.

        Raises:
            DeploymentFailed: If that fails, or takes too long.
        """
        platform = platform_of(self._options)
        kind = platform.model.kind
        names = [name for each, name in map(key_of, self.documents) if each == kind]
        with Following(self._connection, self._deadline, platform, self._namespace) as following:
            for document in reversed(self.documents):  # what is called, before what calls it
                item = self._apply(document)
                following.applied(item)
            for document in self.documents:
                if document["kind"] == SERVER.kind:
                    # Whoever undeployed another pipeline before these Models were there may have
                    # taken their Server for one that nobody needs.
                    self._apply(document)
            following.until_ready(names, tell)
        refuse_headless(self._api, self._options, [name for name in names if name != self._name])
        main = self._api.get(platform.model, self._namespace, self._name)
        if main is None:
            raise DeploymentFailed(f"{self._name} was deleted while it was deployed")
        deployment = ClusterDeployment(self._connection, self._options, main)
        if tell is not None:
            tell("asking it whether it is ready")
        try:
            ask(deployment, self._deadline)
            keep = set(map(key_of, self.documents))
            remove(self._connection, self._deadline, platform, self._namespace, self._name, keep)
        except BaseException:
            deployment.close()
            raise
        return deployment

    def describe_leftovers(self) -> str:
        """Return what was applied, or may have been, and what becomes of it; empty if nothing was."""
        told = []
        if self.applied:
            told.append(f"applied, and left there: {', '.join(self.applied)}")
        if self._applying:
            told.append(f"{self._applying} may have been applied")
        if told:
            told.append("deploy again once it is right, or undeploy it")
        return "; ".join(told)

    def _read(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Return what is there of a name; None if nothing is, or not any more.

        Raises:
            DeploymentFailed: If it is not ours, or does not go away.
        """
        asked = self._asked(document)
        item = self._api.get(asked.resource, self._namespace, asked.name)
        if item is None:
            return None
        if not is_ours(item):
            raise not_managed(asked, item)
        if item["metadata"].get("deletionTimestamp"):
            gone = {item["metadata"]["uid"]: asked}
            until_gone(self._connection, self._deadline, self._namespace, gone)
            return None
        return item

    def _dry_run(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return an object as it would be, or as it was given where no webhook can tell."""
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
        """Apply an object, to the one that is there now, and labels it as a part of this."""
        asked = self._asked(document)
        live = self._read(document)
        # First, so that who undeploys another pipeline meanwhile leaves it.
        if live is not None and not self._claim(asked, live):
            live = self._read(document)
        document = at_least(document, live)
        if live is not None:
            # One that took its place since then is refused.
            metadata = {**document["metadata"], "uid": live["metadata"]["uid"]}
            document = {**document, "metadata": metadata}
        self._applying = str(asked)  # an interrupt or a lost answer leaves it open
        try:
            item = self._api.apply(document, over=TAKEN.get(document["kind"], ()))
        except ApiError:
            self._applying = ""
            raise
        if self._applying not in self.applied:
            self.applied.append(self._applying)
        self._applying = ""
        self._claim(asked, item)
        return item

    def _claim(self, asked: ApiCall, item: dict[str, Any]) -> bool:
        """Labels an object as a part of this; whether it stays, and is not being deleted."""
        if not (labels := claimed(item, self._name)):
            return True
        labelled = self._api.relabel(replace(asked, verb="patch"), labels)
        return labelled is not None and "deletionTimestamp" not in labelled["metadata"]

    def _asked(self, document: dict[str, Any]) -> ApiCall:
        name = document["metadata"]["name"]
        return ApiCall("get", resource_of(document), self._namespace, name)


def ask(deployment: ClusterDeployment, deadline: Deadline) -> None:
    """Ask a model whether it is ready, in the way that callers reach it, until it is.

    An ingress and a mesh follow their models with a delay, so that all but a refusal is asked again.

    Raises:
        DeploymentFailed: If it is not by the deadline, or may not be asked.
    """
    import aiohttp

    main = deployment.main()
    url = f"{main.url}/v2/models/{main.model}/ready"
    delay = _FIRST_DELAY
    while True:
        try:
            code, said = background().run(_asked_once(url, main.headers, deadline))
            if code == 200 or (deployment.target == seldon2.TARGET and _by_agent(code, said)):
                return
            why = f"{code} {said}"
            if code in (401, 403):
                raise DeploymentFailed(
                    f"{main.model} is ready on the cluster, and cannot be called from here: {why}; "
                    f"{_allowing(deployment, main.url)}"
                )
        except aiohttp.ClientError as error:
            why = line(str(error)) or type(error).__name__
        if delay >= deadline.left:
            raise DeploymentFailed(
                f"{main.model} is ready on the cluster, and not at {url} after "
                f"{deadline.seconds:g} seconds ({why})"
                + ("; is that the right ingress?" if deployment.ingress else "")
            )
        time.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


def _by_agent(code: int, said: str) -> bool:
    """Return whether an answer to "ready" is from the agent of Seldon Core 2 beside a model's server.

    From 2.10 on the agent knows no other calls over HTTP than `infer`, and answers 400 with a text
    (scheduler/pkg/translator/utils.go, GetPathTermination). By then the model's condition has said that
    it is loaded, and what was missing is the mesh's route: without one it answers 404, and 503 without
    a server. MLServer answers 400 without a text for a model that is not ready.
    """
    return code == 400 and bool(said) and NOT_READY not in said


def _allowing(deployment: ClusterDeployment, url: str) -> str:
    """Return what lets calls through that are refused."""
    if deployment.relayed:
        named = ", or name an ingress in remote_options" if deployment.target == TARGET else ""
        return f"get the right to `get` and `create` services/proxy, as in k8s/rbac{named}"
    other = ", or leave the ingress out of remote_options" if deployment.ingress else ""
    return f"have what guards {url} let calls of models through{other}"


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
            if len(content) > _TOLD or not deadline.left:
                break
        return answer.status, line(content)
