"""What a graph is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A model, and the models it calls.

    Attributes:
        name: Its name.
        platform: Its framework; `tempo` for a pipeline.
        folder: Folder of its artifact; None where none is known.
        fault: Why it could not be called, or looked into further; None if nothing is in the way.
        edges: The models it calls.
    """

    name: str
    platform: str
    folder: str | None = None
    fault: str | None = None
    edges: tuple[Edge, ...] = ()

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return "pipeline" if self.platform == "tempo" else self.platform


@dataclass(frozen=True)
class Edge:
    """How a pipeline calls one of its models.

    Attributes:
        alias: Name it calls it by.
        transport: `in_process`, `http` or `grpc`.
        urls: Its servers; none in this process, and none for the server that the pipeline is on.
        node: The model.
    """

    alias: str
    transport: str
    urls: tuple[str, ...]
    node: Node

    @property
    def way(self) -> str:
        """How it is reached, for people."""
        if self.urls:
            return ", ".join(self.urls)
        return "in process" if self.transport == "in_process" else f"{self.transport}, same server"
