"""Find fields in a document, at any depth, that its kind does not have.

`scripts/fields.py` generates `fields.json` from the platforms' schemas. Places that a schema leaves open
(labels, annotations, parameters) are not checked.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tempo_runtime._util.yaml_document import Document, Place, path_text

_FILE = "fields.json"
_ANY = "*"
_CLOSE = 0.75
_DEPTH = 4  # how deep to search for the place where a misplaced field belongs


@dataclass(frozen=True)
class Node:
    """The fields of one place.

    Attributes:
        fields: The node of each field; None if its content is not checked.
    """

    fields: Mapping[str, Node | None]

    def get(self, name: str) -> Node | None:
        """Return the node of a field."""
        return self.fields.get(name, self.fields.get(_ANY))

    def has(self, name: str) -> bool:
        """Return whether there is such a field; `$patch` and the like belong to kustomize."""
        return name in self.fields or _ANY in self.fields or name.startswith("$")


@dataclass(frozen=True)
class Unknown:
    """A field that its place does not have.

    Attributes:
        place: Where it is.
        parents: The path and node of each place that contains it, the nearest last.
    """

    place: Place
    parents: Sequence[tuple[tuple[str | int, ...], Node]]

    @property
    def name(self) -> str:
        """The field's name."""
        return str(self.place.path[-1])

    @property
    def spelled(self) -> str | None:
        """The field of the same place that differs only in capitals."""
        _, node = self.parents[-1]
        return next((field for field in node.fields if field.lower() == self.name.lower()), None)

    def __str__(self) -> str:
        path, node = self.parents[-1]
        message = f"{self.name[:80]!r} is not a field of {path_text(path) or 'the document'}"
        if meant := self.spelled or self._similar(node):
            return f"{message}; did you mean {meant!r}?"
        elsewhere = self._elsewhere()
        return f"{message}; it is a field of {elsewhere}" if elsewhere else message

    def _similar(self, node: Node) -> str | None:
        return next(iter(difflib.get_close_matches(self.name, node.fields, 1, _CLOSE)), None)

    def _elsewhere(self) -> str | None:
        """Return the nearest place that has such a field, where it was probably meant to be."""
        for path, node in reversed(self.parents[:-1]):
            if self.name in node.fields:
                return path_text(path) or "the document"
        for path, node in reversed(self.parents):
            if inner := _search_below(node, self.name):
                return path_text((*path, *inner))
        return None


def unknown(document: Document) -> Iterator[Unknown]:
    """Yield the fields that the kind of a document does not have, without looking inside them."""
    node = _kinds().get(document.kind)
    if node is not None:
        yield from _unknown(document.root, node, [])


def _unknown(
    place: Place, node: Node, parents: list[tuple[tuple[str | int, ...], Node]]
) -> Iterator[Unknown]:
    for item in place:
        yield from _unknown(item, node, parents)
    parents = [*parents, (place.path, node)]
    for name, value in place.items():
        if not node.has(name):
            yield Unknown(value, parents)
        elif (inner := node.get(name)) is not None:
            yield from _unknown(value, inner, parents)


def _search_below(node: Node, name: str) -> tuple[str, ...] | None:
    """Return the path from a node to the nearest node below it that has a field."""
    waiting: deque[tuple[tuple[str, ...], Node]] = deque([((), node)])
    while waiting:
        path, node = waiting.popleft()
        if path and name in node.fields:
            return path
        if len(path) < _DEPTH:
            waiting += [((*path, field), inner) for field, inner in node.fields.items() if inner]
    return None


@functools.cache
def _kinds() -> dict[str, Node]:
    text = resources.files("tempo_runtime.lint").joinpath(_FILE).read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    nodes: list[Node | None] = []
    for fields in content["nodes"]:  # a node refers only to earlier ones
        inner = {name: nodes[number] for name, number in (fields or {}).items()}
        nodes.append(None if fields is None else Node(inner))
    kinds = ((kind, nodes[number]) for kind, number in content["kinds"].items())
    return {kind: node for kind, node in kinds if node is not None}
