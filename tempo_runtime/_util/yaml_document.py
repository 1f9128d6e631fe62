"""Documents of a YAML file: plain values, and the line of each."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = str | int
Path = tuple[Key, ...]

SETTINGS = "model-settings.json"

# Kind -> API group, and its versions.
APIS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SeldonDeployment": ("machinelearning.seldon.io", ("v1", "v1alpha2", "v1alpha3")),
    "Model": ("mlops.seldon.io", ("v1alpha1",)),
    "Server": ("mlops.seldon.io", ("v1alpha1",)),
    "Pipeline": ("mlops.seldon.io", ("v1alpha1",)),
    "Experiment": ("mlops.seldon.io", ("v1alpha1",)),
    "InferenceService": ("serving.kserve.io", ("v1beta1",)),
    "ServingRuntime": ("serving.kserve.io", ("v1alpha1",)),
    "ClusterServingRuntime": ("serving.kserve.io", ("v1alpha1",)),
    "InferenceGraph": ("serving.kserve.io", ("v1alpha1",)),
    "Secret": ("", ("v1",)),
    "ConfigMap": ("", ("v1",)),  # it may be KServe's configuration
}
# Other projects have kinds with these names, too; those are of other groups.
_SHARED = ("Model", "Server", "Pipeline", "Experiment", "Secret", "ConfigMap")


@dataclass(frozen=True)
class Place:
    """A place in a document; it may be absent, and then all places in it are absent, too.

    Attributes:
        value: Its value; None if it is absent.
        path: Its path from the root of the document.
    """

    value: Any
    path: Path = ()

    def __getitem__(self, key: Key) -> Place:
        value = None
        if isinstance(self.value, dict) and isinstance(key, str):
            value = self.value.get(key)
        elif isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            value = self.value[key]
        return Place(value, (*self.path, key))

    def __iter__(self) -> Iterator[Place]:
        """Yield the items of a list; nothing if it is not a list."""
        for index in range(len(self.value) if isinstance(self.value, list) else 0):
            yield self[index]

    def items(self) -> Iterator[tuple[str, Place]]:
        """Keys and what they have, of a mapping."""
        for key in self.value if isinstance(self.value, dict) else ():
            yield key, self[key]

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def text(self) -> str:
        """Its text; empty if it is something else."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def number(self) -> int | None:
        """Its whole number; None if it is something else."""
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        return self.value if whole else None


@dataclass(frozen=True)
class Lines:
    """The line of a value, and the lines of the values in it."""

    line: int
    inner: dict[Key, Lines] = field(default_factory=dict)

    def at(self, path: Path) -> int:
        """Return the line of a path; if it is absent, of the nearest place that would contain it."""
        lines = self
        for key in path:
            if key not in lines.inner:
                break
            lines = lines.inner[key]
        return lines.line


@dataclass(frozen=True, eq=False)
class Document:
    """A document of a file, or an item of a `List` in it."""

    file: str
    content: dict[str, Any]
    lines: Lines

    @functools.cached_property
    def root(self) -> Place:
        """The whole document."""
        return Place(self.content)

    def __getitem__(self, key: str) -> Place:
        return self.root[key]

    @functools.cached_property
    def kind(self) -> str:
        """One of `APIS`, or `SETTINGS`; empty if no rule applies to the document."""
        kind, version = self["kind"].text, self["apiVersion"].text
        if not kind and not version:
            is_settings = os.path.basename(self.file) == SETTINGS
            return SETTINGS if is_settings or self["implementation"].text else ""
        group = version.rpartition("/")[0]
        if kind not in APIS or (kind in _SHARED and group != APIS[kind][0]):
            return ""
        return kind

    @property
    def name(self) -> str:
        """Its name; empty if it has none."""
        return (self if self.kind == SETTINGS else self["metadata"])["name"].text

    @property
    def namespace(self) -> str:
        """Its namespace; empty if it states none."""
        return self["metadata"]["namespace"].text

    def line(self, path: Path) -> int:
        """See `Lines.at`."""
        return self.lines.at(path)


class Run:
    """All documents that are checked together."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents

    def of(self, *kinds: str) -> list[Document]:
        """Return the documents of some kinds."""
        return [document for document in self.documents if document.kind in kinds]

    def named(self, name: str, *kinds: str) -> list[Document]:
        """Return the documents of some kinds that have a name."""
        return [document for document in self.of(*kinds) if document.name == name]


def differ(one: str, other: str) -> bool:
    """Return whether two namespaces differ for certain: one that is not stated may be any."""
    return bool(one and other and one != other)


def path_text(path: Path) -> str:
    """Return a path as text: `spec.predictors[0].name`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[\w-]+", key):
            text += f".{key}"
        else:
            text += f"[{key!r}]"
    return text.removeprefix(".")
