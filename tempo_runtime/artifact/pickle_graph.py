"""The content of a pickle, read without running it, and a digest of it.

The bytes of a pickle depend on more than its content: on the order of a set, on which texts happen to
be one object, on the lines and the path of a function. So the pickle is read as the graph of objects
that it describes, and that graph is hashed: code without its lines and its file, sets and a function's
globals in an order of their own, and equal values alike whether they are shared or not. Objects that
can change later (a list, a dict, a set) are told apart from equal copies.
"""

from __future__ import annotations

import hashlib
import pickletools
from collections.abc import Callable, Iterable
from typing import Any

from tempo_runtime.errors import ArtifactDamaged

_DILL = "dill._dill"
_ATOMS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {
    "EMPTY_LIST": "list",
    "EMPTY_DICT": "dict",
    "EMPTY_SET": "set",
    "EMPTY_TUPLE": "tuple",
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARKED = {"TUPLE": "tuple", "LIST": "list", "DICT": "dict", "FROZENSET": "frozenset"}
_MUTABLE = ("list", "dict", "set", "globals", "bytearray")
_CHANGING = frozenset((*_MUTABLE, "cell"))
# The objects that dill's functions make.
_KINDS = {
    "_create_cell": "cell",
    "_create_code": "code",
    "_create_function": "function",
    "_create_type": "class",
}
# Of the arguments that dill makes a code object of: lnotab, file, first line, lines; by their number.
_LINES = {17: (0, 11, 13, 14), 19: (0, 11, 14, 15)}
_MARK = object()


class _Node:
    """An object that a pickle describes.

    Attributes:
        kind: `list`, `dict`, ..., `global`; `cell`, `code`, `function`, `class`; or the opcode that makes
            it: `reduce`, `newobj`, ...
        parts: What it is made of; of a dict, keys and values in turn.
        effects: What is done to it afterwards: its state, items that are added, attributes set.
    """

    __slots__ = ("effects", "kind", "parts")

    def __init__(self, kind: str, parts: Iterable[Any] = ()) -> None:
        self.kind = kind
        self.parts: list[Any] = list(parts)
        self.effects: list[Any] = []


def digest(data: bytes) -> str:
    """Compute the digest of a pickle's contents.

    Raises:
        ArtifactDamaged: If it is not a pickle.
    """
    return _digest(_read(data), {})


def difference(old: bytes, new: bytes) -> str | None:
    """Name the first difference between two pickles, such as `Shop.predict` or `LIMIT`.

    Returns:
        The first such name; an empty text for a difference without a name; None if they hold the same.

    Raises:
        ArtifactDamaged: If one is not a pickle.
    """
    path = _Comparison().differing(_read(old), _read(new))
    if path is None:
        return None
    return ".".join(name for name in dict.fromkeys(path) if not name.startswith("__"))


def parts(data: bytes) -> int:
    """Count the objects in a pickled tuple; 1 for anything else.

    Raises:
        ArtifactDamaged: If it is not a pickle.
    """
    root = _read(data)
    return len(root.parts) if isinstance(root, _Node) and root.kind == "tuple" else 1


def has_constructor_arguments(data: bytes) -> bool:
    """Tell whether the first object of a pickled tuple has a non-empty attribute `arguments`.

    So b385a99 saved an instance.

    Raises:
        ArtifactDamaged: If it is not a pickle.
    """
    root = _read(data)
    first = root.parts[0] if isinstance(root, _Node) and root.parts else None
    for effect in first.effects if isinstance(first, _Node) else ():
        if isinstance(effect, _Node) and effect.kind == "dict":
            arguments = _items(effect).get("arguments")
            if isinstance(arguments, _Node):
                return any(part.parts for part in arguments.parts if isinstance(part, _Node))
    return False


# -- reading ---------------------------------------------------------------------------------------


def _read(data: bytes) -> Any:
    try:
        return _run(data)
    except Exception as error:
        raise ArtifactDamaged(f"not a pickle: {error}") from error


def _run(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def marked() -> list[Any]:
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        found = stack[at + 1 :]
        del stack[at:]
        return found

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            _pop(stack)
        elif name == "POP_MARK":
            marked()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(str(argument))] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(argument))])
        elif name in _ATOMS:
            stack.append(_ATOMS[name])
        elif name in _EMPTY:
            stack.append(_Node(_EMPTY[name]))
        elif name in _TUPLES:
            count = _TUPLES[name]
            parts = stack[-count:]
            stack[-count:] = [_Node("tuple", parts)]
        elif name in _MARKED:
            stack.append(_Node(_MARKED[name], marked()))
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            items = marked()
            _extend(stack[-1], items)
        elif name in ("APPEND", "SETITEM"):
            count = 1 if name == "APPEND" else 2
            items = stack[-count:]
            del stack[-count:]
            _extend(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_Node("global", str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_Node("global", stack[-2:])]
        elif name in ("REDUCE", "NEWOBJ"):
            stack[-2:] = [_made(name.lower(), stack[-2:])]
        elif name == "NEWOBJ_EX":
            stack[-3:] = [_Node("newobj", stack[-3:])]
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].effects.append(state)
        elif name in ("OBJ", "INST"):
            made_of = [argument] if name == "INST" else []
            stack.append(_Node(name.lower(), [*made_of, *marked()]))
        elif name == "BINPERSID":
            stack.append(_Node("persid", [stack.pop()]))
        elif name == "BYTEARRAY8":
            stack.append(_Node("bytearray", [bytes(argument or b"")]))
        elif opcode.arg is not None and opcode.stack_after and not opcode.stack_before:
            stack.append(argument)
        else:
            raise ValueError(f"its opcode {name} is not known here")
    raise ValueError("it has no end")


def _pop(stack: list[Any]) -> None:
    """Drop what a call gave that was made for its effect on its first argument."""
    dropped = stack.pop()
    if isinstance(dropped, _Node) and dropped.kind == "reduce" and dropped.parts[1].parts:
        changed = dropped.parts[1].parts[0]
        if isinstance(changed, _Node) and changed.kind != "global":
            changed.effects.append(dropped)


def _extend(node: _Node, items: list[Any]) -> None:
    """Add items to a list, a dict or a set; of other objects they are kept apart from the parts."""
    (node.parts if node.kind in _MUTABLE else node.effects).extend(items)


def _made(kind: str, parts: list[Any]) -> _Node:
    called, arguments = parts
    if not isinstance(called, _Node) or called.parts[:1] != [_DILL]:
        return _Node(kind, parts)
    node = _Node(_KINDS.get(called.parts[1], kind), parts)
    if node.kind == "code":
        left_out = _LINES.get(len(arguments.parts), ())
        kept = [each for at, each in enumerate(arguments.parts) if at not in left_out]
        node.parts[1] = _Node("tuple", kept)
    elif node.kind == "function" and arguments.parts[1].kind == "dict":
        arguments.parts[1].kind = "globals"
    return node


# -- hashing ---------------------------------------------------------------------------------------

_Known = dict[int, bytes | None]  # of nodes by their id: what `_constant` gives


def _digest(value: Any, known: _Known) -> str:
    hashed = hashlib.sha256()
    _write(value, hashed.update, {}, known)
    return hashed.hexdigest()


def _write(value: Any, to: Callable[[bytes], object], seen: dict[int, int], known: _Known) -> None:
    if not isinstance(value, _Node):
        to(_atom(value))
        return
    constant = _constant(value, known)
    if constant is not None:
        to(constant)
        return
    if id(value) in seen:
        to(b"seen %d;" % seen[id(value)])
        return
    seen[id(value)] = len(seen)
    parts, effects = value.parts, value.effects
    if value.kind == "cell":
        # One that leads back to its function is made empty, and filled later.
        filled = [each.parts[1].parts[-1] for each in effects]
        parts, effects = [parts[0], *(filled or parts[1].parts)], []
    elif value.kind in ("set", "frozenset"):
        parts = sorted(parts, key=lambda part: _digest(part, known))
    elif value.kind == "globals":
        pairs = sorted(zip(parts[::2], parts[1::2]), key=lambda pair: str(pair[0]))
        parts = [each for pair in pairs for each in pair]
    to(f"{value.kind} {len(parts)} {len(effects)};".encode())
    for part in parts:
        _write(part, to, seen, known)
    for effect in effects:
        _write(effect, to, seen, known)


def _constant(node: _Node, known: _Known) -> bytes | None:
    """Return the digest of a node that can never change, so that an equal one will do; else None."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = None  # one that leads to itself
    if node.kind in _CHANGING:
        return None
    found = []
    for part in (*node.parts, *node.effects):
        content = _constant(part, known) if isinstance(part, _Node) else _atom(part)
        if content is None:
            return None
        found.append(content)
    if node.kind == "frozenset":
        found.sort()
    hashed = hashlib.sha256(f"{node.kind} {len(node.parts)} {len(node.effects)};".encode())
    for content in found:
        hashed.update(content)
    known[id(node)] = b"constant " + hashed.digest()
    return known[id(node)]


def _atom(value: Any) -> bytes:
    content = value if isinstance(value, bytes) else repr(value).encode()
    return b"%s %d %s" % (type(value).__name__.encode(), len(content), content)


# -- comparing -------------------------------------------------------------------------------------


class _Comparison:
    """Finds the first difference of two graphs."""

    def __init__(self) -> None:
        self._known: _Known = {}
        self._entered: set[tuple[int, int]] = set()

    def differing(self, old: Any, new: Any) -> list[str] | None:
        """Return the names that lead to the first difference; None if both are the same."""
        if (id(old), id(new)) in self._entered:
            return None
        if _digest(old, self._known) == _digest(new, self._known):
            return None
        self._entered.add((id(old), id(new)))
        if not isinstance(old, _Node) or not isinstance(new, _Node) or old.kind != new.kind:
            return []
        if new.kind == "function":
            return self._functions(old, new)
        if new.kind in ("dict", "globals"):
            return self._items(_items(old), _items(new))
        if new.kind in ("code", "set", "frozenset"):
            return []
        name = [str(new.parts[1].parts[1])] if new.kind == "class" else []
        for before, after in zip((*old.parts, *old.effects), (*new.parts, *new.effects)):
            found = self.differing(before, after)
            if found is not None:
                return [*name, *found]
        return name

    def _functions(self, old: _Node, new: _Node) -> list[str]:
        """Return the names that lead to the difference: an outside variable, or the function."""
        before, after = old.parts[1].parts, new.parts[1].parts
        if self.differing(before[0], after[0]) is None:
            outside = self.differing(before[1], after[1])
            if outside is not None:
                return outside
            if isinstance(before[4], _Node) and isinstance(after[4], _Node):
                free = after[0].parts[1].parts[-2].parts
                for name, one, other in zip(free, before[4].parts, after[4].parts):
                    inside = self.differing(one, other)
                    if inside is not None:
                        return [str(name), *inside]
        return [str(after[2])]

    def _items(self, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        for key in sorted({*new, *old}):
            if key not in old or key not in new:
                return [key]
            found = self.differing(old[key], new[key])
            if found is not None:
                return [key, *found]
        return []


def _items(node: _Node) -> dict[str, Any]:
    return {str(key): value for key, value in zip(node.parts[::2], node.parts[1::2])}
