"""The deployment that a pickled client belongs to, in whichever process the client is unpickled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from tempo_runtime.deploy.deployment import (
    GRACE,
    Address,
    Deployment,
    DeploymentGone,
    ModelStatus,
    Recall,
)


class RecalledDeployment(Deployment):
    """A deployment as a pickle holds it: with the facts that do not change, and its address if possible.

    Everything else is asked of the deployment itself, which is looked up when that is first needed, with
    the credentials of the process that asks.

    Args:
        deployment: The deployment.

    Raises:
        DeploymentFailed: If it was undeployed.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.target = deployment.target  # type: ignore[misc]  # one class for all targets
        self._name, self._id = deployment.name, deployment.id
        self._transport, self._created = deployment.transport, deployment.created
        self._owner = deployment.owner
        self._recall = deployment.recall()
        self._known: Deployment | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_known": None}

    @property
    def name(self) -> str:
        """See `Deployment.name`."""
        return self._name

    @property
    def id(self) -> str:
        """See `Deployment.id`."""
        return self._id

    @property
    def transport(self) -> str:
        """See `Deployment.transport`."""
        return self._transport

    @property
    def created(self) -> str:
        """See `Deployment.created`."""
        return self._created

    @property
    def owner(self) -> int | None:
        """See `Deployment.owner`."""
        return self._owner

    @property
    def up(self) -> bool:
        """See `Deployment.up`."""
        try:
            return self._deployment().up
        except DeploymentGone:
            return False

    def main(self) -> Address:
        """See `Deployment.main`; an address in the pickle is used without asking for more."""
        return self._recall.address or self._deployment().main()

    def models(self) -> list[ModelStatus]:
        """See `Deployment.models`."""
        try:
            return self._deployment().models()
        except DeploymentGone:
            return []

    def logs(self, model: str | None = None) -> dict[str, str]:
        """See `Deployment.logs`."""
        return self._deployment().logs(model)

    def undeploy(self, grace: float = GRACE) -> None:
        """See `Deployment.undeploy`."""
        with suppress(DeploymentGone):
            self._deployment().undeploy(grace)
        self._recall = replace(self._recall, address=None)

    def close(self) -> None:
        """See `Deployment.close`."""
        if self._known is not None:
            self._known.close()

    def recall(self) -> Recall:
        """See `Deployment.recall`."""
        return self._recall

    def _deployment(self) -> Deployment:
        if self._known is None:
            self._known = self._recall.deployment()
        return self._known
