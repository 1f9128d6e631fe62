"""The nodes and edges of a graph."""

from __future__ import annotations

from dataclasses import dataclass

from tempo_runtime.artifact import topology


@dataclass(frozen=True)
class Node:
    """A model, and the models it calls.

    Attributes:
        name: Its name.
        platform: Its framework; `tempo` for a pipeline.
        folder: Folder of its artifact; None if it is unknown.
        fault: Why it cannot be called, or its artifact cannot be read; None if nothing is wrong.
        edges: The models it calls.
        description: A sentence for people; empty if its author gives none.
    """

    name: str
    platform: str
    folder: str | None = None
    fault: str | None = None
    edges: tuple[Edge, ...] = ()
    description: str = ""

    @property
    def kind(self) -> str:
        """The kind of model, for people."""
        return "pipeline" if self.platform == "tempo" else self.platform


@dataclass(frozen=True)
class Edge:
    """How a pipeline calls one of its models.

    Attributes:
        alias: Name by which the pipeline calls the model.
        transport: `in_process`, `http` or `grpc`.
        urls: URLs of its servers; empty in the same process and on the pipeline's own server.
        node: The model.
        output: Output that the pipeline asks for; None for the one that the model's server gives.
        batch_rows: Largest number of rows of calls that are put together; None if they are not.
    """

    alias: str
    transport: str
    urls: tuple[str, ...]
    node: Node
    output: str | None = None
    batch_rows: int | None = None

    @property
    def way(self) -> str:
        """How the model is reached, for people."""
        place = topology.way(self.transport, self.urls)
        output = "" if self.output is None else f", output {self.output}"
        batches = "" if self.batch_rows is None else f", batches of up to {self.batch_rows} rows"
        return place + output + batches
