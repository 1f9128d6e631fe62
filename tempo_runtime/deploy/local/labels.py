"""Labels that describe a deployment of containers, on each container and on their network."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from tempo_runtime.deploy.local.records import Process

PREFIX = "tempo-runtime."
DEPLOYMENT = f"{PREFIX}deployment"


@dataclass(frozen=True)
class Owner:
    """The process that a deployment ends with.

    Attributes:
        process: That process.
        host: The machine it runs on.
    """

    process: Process
    host: str

    @property
    def alive(self) -> bool:
        """Whether it runs; assumed for processes on other machines."""
        return self.host != socket.gethostname() or self.process.alive


@dataclass(frozen=True)
class Labels:
    """The description of a deployment.

    Attributes:
        id: Its unique id.
        name: Its name.
        created: When it was first deployed, in ISO 8601.
        owner: The process it ends with; None if it stays until it is undeployed.
    """

    id: str
    name: str
    created: str = ""
    owner: Owner | None = None

    @classmethod
    def new(cls, name: str, detached: bool) -> Labels:
        """Create the labels of a new deployment of this process."""
        owner = None if detached else Owner(Process.of(os.getpid()), socket.gethostname())
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(f"{name}-{uuid.uuid4().hex[:8]}", name, now, owner)

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> Labels:
        """Read the labels of a container or a network.

        Raises:
            ValueError: If they are not a deployment's labels.
        """
        try:
            owner_label = json.loads(labels[f"{PREFIX}owner"])
            owner = owner_label and Owner(
                Process(owner_label["pid"], owner_label["started"]), owner_label["host"]
            )
            return cls(
                labels[DEPLOYMENT], labels[f"{PREFIX}name"], labels[f"{PREFIX}created"], owner
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not labels of a deployment: {labels}") from error

    @property
    def network(self) -> str:
        """Name of its network."""
        return f"tempo-{self.id}"

    def to_dict(self, **more: str) -> dict[str, str]:
        """Return the labels in the engine's form, together with others.

        Args:
            more: More labels of one container, by name.
        """
        owner = None
        if self.owner is not None:
            process = self.owner.process
            owner = {"pid": process.pid, "started": process.started, "host": self.owner.host}
        labels = {
            "deployment": self.id,
            "name": self.name,
            "created": self.created,
            "owner": json.dumps(owner),
        }
        return {PREFIX + name: value for name, value in {**labels, **more}.items()}
