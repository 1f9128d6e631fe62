"""Reading YAML as kubectl does, without ever failing: what cannot be read is a fault with its line."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempo_runtime._util.yaml_document import Document, Lines

if TYPE_CHECKING:
    import yaml

YAML = "yaml"
EMPTY = "yaml-empty"
DUPLICATE = "yaml-duplicate-key"

# Aliases of aliases make a few lines billions of values; no manifest has a thousandth of these.
_MOST_VALUES = 1_000_000
_TAG = "tag:yaml.org,2002:"
# What kubectl reads as a number and PyYAML does not: `1e3`, `0X1F`, `09`; and its `y` and `n`.
_NUMBER = (
    r"[-+]?(0[xX][0-9a-fA-F_]+|0[bBoO][0-7_]+"
    r"|(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?)"
)
_LETTER = "[yYnN]"
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with the text itself."""

    rule: str
    line: int
    message: str


def read(text: str, file: str) -> tuple[list[Document], list[Fault]]:
    """Return the documents of a text, and what is wrong with it.

    Documents before one that cannot be read are still there.
    """
    documents: list[Document] = []
    faults: list[Fault] = []
    patches = False
    for node in _nodes(text, faults):
        builder = _Builder(faults)
        try:
            content, lines, _ = builder.build(node)
        except RecursionError:
            faults.append(Fault(YAML, _line(node), "it is nested too deep"))
        except _Refused as refused:
            faults.append(Fault(YAML, refused.line, refused.message))
        else:
            documents += _documents(content, lines, file)
            patches = patches or _is_patch(content)
    if not (documents or faults or patches):
        faults.append(Fault(EMPTY, 1, "there is no object in it"))
    return documents, faults


def _nodes(text: str, faults: list[Fault]) -> Iterator[yaml.Node]:
    import yaml

    loader = None
    try:
        loader = _loader()(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(filter(None, (error.context, error.problem)))
        faults.append(Fault(YAML, mark.line + 1 if mark else 1, told or "it cannot be read"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        faults.append(Fault(YAML, line, f"character #x{error.character:04x}: {error.reason}"))
    except RecursionError:
        faults.append(Fault(YAML, loader.line + 1 if loader else 1, "it is nested too deep"))
    except (ValueError, OverflowError):  # of numbers in escapes and directives
        told = "a number in an escape or a directive is too large"
        faults.append(Fault(YAML, loader.line + 1 if loader else 1, told))


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    """PyYAML's, which takes for a number or for true what kubectl does."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    # These are for plain scalars without a tag: `"1e3"` and `!!str 1e3` are text.
    for kind, pattern, first in (("float", _NUMBER, "-+.0123456789"), ("bool", _LETTER, "yYnN")):
        Loader.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"{pattern}\Z"), list(first))
    return Loader


def _documents(content: Any, lines: Lines, file: str) -> Iterator[Document]:
    if not isinstance(content, dict):
        return
    items = content.get("items")
    if content.get("kind") != "List" or not isinstance(items, list):
        yield Document(file, content, lines)
        return
    for index, item in enumerate(items):
        if isinstance(item, dict):
            yield Document(file, item, lines.inner["items"].inner[index])


def _is_patch(content: Any) -> bool:
    """Return whether it is a JSON patch, as kustomize takes them: a list of operations."""
    return isinstance(content, list) and any(isinstance(item, dict) for item in content)


class _Refused(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line, self.message = _line(node), message


class _Builder:
    """Makes plain values of nodes, once for each: an alias is the same value again."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._built: dict[int, tuple[Any, Lines, int]] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> tuple[Any, Lines, int]:
        """Return the value of a node, its lines, and how many values that is."""
        known = self._built.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise _Refused(node, "an alias in it refers to what it is in")
        self._open.add(id(node))
        built = self._value(node)
        if built[2] > _MOST_VALUES:
            raise _Refused(node, "its aliases make it too large")
        self._open.remove(id(node))
        self._built[id(node)] = built
        return built

    def _value(self, node: yaml.Node) -> tuple[Any, Lines, int]:
        import yaml

        if isinstance(node, yaml.SequenceNode):
            built = [self.build(item) for item in node.value]
            lines = Lines(_line(node), {place: each[1] for place, each in enumerate(built)})
            return [each[0] for each in built], lines, 1 + sum(each[2] for each in built)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        return _scalar(node), Lines(_line(node)), 1

    def _mapping(self, node: yaml.MappingNode) -> tuple[Any, Lines, int]:
        content: dict[str, Any] = {}
        lines = Lines(_line(node))
        count, merged = 1, []
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise _Refused(key, "a key in it is not text")
            found, inner, size = self.build(value)
            count += size
            if key.tag == f"{_TAG}merge":
                merged += _merges(found, inner)
                continue
            if key.value in content:
                told = f"key {key.value!r} is there twice"
                self._faults.append(Fault(DUPLICATE, _line(key), told))
            content[key.value] = found
            lines.inner[key.value] = Lines(_line(key), inner.inner)
        for found, inner in merged:
            for name in found:
                if name not in content:
                    content[name] = found[name]
                    lines.inner[name] = inner.inner[name]
        return content, lines, count


def _merges(found: Any, lines: Lines) -> list[tuple[dict[str, Any], Lines]]:
    """Return the mappings that `<<` takes in: one, or each of a list."""
    if isinstance(found, list):
        each = [(item, lines.inner[place]) for place, item in enumerate(found)]
    else:
        each = [(found, lines)]
    return [(item, inner) for item, inner in each if isinstance(item, dict)]


def _scalar(node: yaml.Node) -> Any:
    """Return what kubectl makes of a scalar: dates and sexagesimal numbers stay text, and `y` is true."""
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on", "y")
    if kind in ("int", "float") and ":" not in text:
        return _number(text)
    return text


def _number(text: str) -> int | float | str:
    """Return the number that a text is to kubectl; the text itself where Go has no number as large."""
    plain = text.replace("_", "").lower()
    if plain.lstrip("+-") in (".inf", ".nan"):
        return math.nan if plain.endswith("nan") else math.inf * (-1 if plain[0] == "-" else 1)
    for base in (0, 8):
        try:
            whole = int(plain, base)
        except ValueError:
            continue
        if -(2**63) <= whole < 2**64:
            return whole
    if _FLOAT.fullmatch(plain) and math.isfinite(found := float(plain)):
        return found
    return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
