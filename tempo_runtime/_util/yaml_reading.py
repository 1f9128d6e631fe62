"""Read YAML as kubectl does. Nothing is raised: text that cannot be read is a fault with its line."""

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

# Aliases of aliases turn a few lines into billions of values. No manifest needs a thousandth of this.
_MOST_VALUES = 1_000_000
_TAG = "tag:yaml.org,2002:"
# Numbers for kubectl that PyYAML reads as text: `1e3`, `0X1F`, `09`; and booleans: `y` and `n`.
_NUMBER = (
    r"[-+]?(0[xX][0-9a-fA-F_]+|0[bBoO][0-7_]+"
    r"|(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?)"
)
_LETTER = "[yYnN]"
_TOO_DEEP = "it is nested too deeply"
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]+)?")


@dataclass(frozen=True)
class Fault:
    """A fault in the text itself."""

    rule: str
    line: int
    message: str


def read(text: str, file: str) -> tuple[list[Document], list[Fault]]:
    """Return the documents and the faults of a text.

    The documents before one that cannot be read are included.
    """
    documents: list[Document] = []
    faults: list[Fault] = []
    patches = False
    for node in _nodes(text, faults):
        builder = _Builder(faults)
        try:
            content, lines, _ = builder.build(node)
        except RecursionError:
            faults.append(Fault(YAML, _line(node), _TOO_DEEP))
        except _Refused as refused:
            faults.append(Fault(YAML, refused.line, refused.message))
        else:
            documents += _documents(content, lines, file)
            patches = patches or _is_patch(content)
    if not (documents or faults or patches):
        faults.append(Fault(EMPTY, 1, "it contains no object"))
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
        message = " ".join(filter(None, (error.context, error.problem)))
        faults.append(Fault(YAML, mark.line + 1 if mark else 1, message or "it cannot be read"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        faults.append(Fault(YAML, line, f"character #x{error.character:04x}: {error.reason}"))
    except RecursionError:
        faults.append(Fault(YAML, loader.line + 1 if loader else 1, _TOO_DEEP))
    except (ValueError, OverflowError):  # for numbers in escapes and directives
        message = "a number in an escape or a directive is too large"
        faults.append(Fault(YAML, loader.line + 1 if loader else 1, message))


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    """Return a loader of PyYAML that recognizes numbers and booleans as kubectl does."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    # These apply to plain scalars without a tag: `"1e3"` and `!!str 1e3` are text.
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
    """Return whether a document is a JSON patch for kustomize: a list of operations."""
    return isinstance(content, list) and any(isinstance(item, dict) for item in content)


class _Refused(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line, self.message = _line(node), message


class _Builder:
    """Turn nodes into plain values, each node once: an alias is the same value again."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._built: dict[int, tuple[Any, Lines, int]] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> tuple[Any, Lines, int]:
        """Return the value of a node, its lines, and the number of values in it."""
        known = self._built.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise _Refused(node, "an alias refers to a value that contains it")
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
            lines = Lines(_line(node), {index: inner for index, (_, inner, _) in enumerate(built)})
            return [value for value, _, _ in built], lines, 1 + sum(size for _, _, size in built)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        return _scalar(node), Lines(_line(node)), 1

    def _mapping(self, node: yaml.MappingNode) -> tuple[Any, Lines, int]:
        mapping: dict[str, Any] = {}
        lines = Lines(_line(node))
        count, merged = 1, []
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise _Refused(key, "a key is not text")
            content, inner, size = self.build(value)
            count += size
            if key.tag == f"{_TAG}merge":
                merged += _merges(content, inner)
                continue
            if key.value in mapping:
                message = f"there are two keys {key.value!r}"
                self._faults.append(Fault(DUPLICATE, _line(key), message))
            mapping[key.value] = content
            lines.inner[key.value] = Lines(_line(key), inner.inner)
        for base, inner in merged:
            for name in base:
                if name not in mapping:
                    mapping[name] = base[name]
                    lines.inner[name] = inner.inner[name]
        return mapping, lines, count


def _merges(content: Any, lines: Lines) -> list[tuple[dict[str, Any], Lines]]:
    """Return the mappings that `<<` merges: one, or those in a list."""
    if isinstance(content, list):
        items = [(item, lines.inner[index]) for index, item in enumerate(content)]
    else:
        items = [(content, lines)]
    return [(item, inner) for item, inner in items if isinstance(item, dict)]


def _scalar(node: yaml.Node) -> Any:
    """Return the value of a scalar for kubectl: dates and sexagesimal numbers are text, `y` is true."""
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on", "y")
    if kind in ("int", "float") and ":" not in text:
        return _number(text)
    return text


def _number(text: str) -> int | float | str:
    """Return the number that a text is for kubectl; the text itself if it is too large for Go."""
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
    if _FLOAT.fullmatch(plain) and math.isfinite(number := float(plain)):
        return number
    return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
