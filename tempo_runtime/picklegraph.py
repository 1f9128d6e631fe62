"""What a pickle holds, read without running it: a digest that is the same for the same content.

The bytes of a pickle depend on more than its content: on the order of a set, on which texts happen to
be one object, on the lines and the path of a function. So the pickle is read as the graph of objects
that it describes, and that graph is hashed: code without its lines and its file, sets and a function's
globals in an order of their own, and equal values alike whether they are shared or not. What can be
changed later (a list, a dict, a set) is told apart from an equal copy of it.
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
# Of the arguments that dill makes a code object of: lnotab, file, first line, lines; by their number.
_LINES = {17: (0, 11, 13, 14), 19: (0, 11, 14, 15)}
_MARK = object()


class _Node:
    """An object that a pickle describes.

    Attributes:
        kind: `list`, `dict`, ..., `global`, or the opcode that makes it: `reduce`, `newobj`, ...
        parts: What it is made of; of a dict, keys and values in turn.
        effects: What is done to it afterwards: its state, items that are added, attributes set.
    """

    def __init__(self, kind: str, parts: Iterable[Any] = ()) -> None:
        self.kind = kind
        self.parts: list[Any] = list(parts)
        self.effects: list[Any] = []

    def makes(self, name: str) -> bool:
        """Whether it is what a function of dill's makes."""
        return (
            self.kind == "reduce"
            and isinstance(self.parts[0], _Node)
            and self.parts[0].parts == [_DILL, name]
        )


def digest(data: bytes) -> str:
    """The digest of what a pickle holds.

    Raises:
        ArtifactDamaged: If it is no pickle.
    """
    return _digest(_read(data))


def difference(old: bytes, new: bytes) -> str | None:
    """Names what two pickles hold differently, such as `Shop.predict` or `LIMIT`.

    Returns:
        The first such name; an empty text if there is none for it; None if they hold the same.

    Raises:
        ArtifactDamaged: If one is no pickle.
    """
    path = _differing(_read(old), _read(new), set())
    if path is None:
        return None
    return ".".join(name for name in dict.fromkeys(path) if not name.startswith("__"))


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
    """Drops what a call gave that was made for its effect on its first argument."""
    dropped = stack.pop()
    if isinstance(dropped, _Node) and dropped.kind == "reduce" and dropped.parts[1].parts:
        changed = dropped.parts[1].parts[0]
        if isinstance(changed, _Node) and changed.kind != "global":
            changed.effects.append(dropped)


def _extend(node: _Node, items: list[Any]) -> None:
    """Adds items to a list, a dict or a set; of other objects they are kept apart from the parts."""
    (node.parts if node.kind in _MUTABLE else node.effects).extend(items)


def _made(kind: str, parts: list[Any]) -> _Node:
    node = _Node(kind, parts)
    arguments = node.parts[1].parts
    if node.makes("_create_code"):
        left_out = _LINES.get(len(arguments), ())
        kept = [each for at, each in enumerate(arguments) if at not in left_out]
        node.parts[1] = _Node("tuple", kept)
    elif node.makes("_create_function") and arguments[1].kind == "dict":
        arguments[1].kind = "globals"
    return node


# -- hashing ---------------------------------------------------------------------------------------


def _digest(value: Any) -> str:
    hashed = hashlib.sha256()
    _write(value, hashed.update, {}, {})
    return hashed.hexdigest()


def _write(
    value: Any, to: Callable[[bytes], object], seen: dict[int, int], known: dict[int, bytes | None]
) -> None:
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
    for each in _content(value):
        if isinstance(each, bytes):
            to(each)
        else:
            _write(each[0], to, seen, known)


def _content(node: _Node) -> Iterable[Any]:
    """What of a node counts: bytes as they are, and values, each in a tuple."""
    parts, effects = node.parts, node.effects
    if node.makes("_create_cell"):
        # One that leads back to its function is made empty, and filled later.
        filled = [each.parts[1].parts[-1] for each in effects]
        parts, effects = [node.parts[0], *(filled or node.parts[1].parts)], []
    elif node.kind in ("set", "frozenset"):
        parts = sorted(parts, key=_digest)
    elif node.kind == "globals":
        pairs = sorted(zip(parts[::2], parts[1::2]), key=lambda pair: str(pair[0]))
        parts = [each for pair in pairs for each in pair]
    yield f"{node.kind} {len(parts)} {len(effects)};".encode()
    yield from ((each,) for each in (*parts, *effects))


def _constant(node: _Node, known: dict[int, bytes | None]) -> bytes | None:
    """The digest of a node that can never change, so that an equal one is as good; else None."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = None  # one that leads to itself
    if node.kind in _MUTABLE or node.makes("_create_cell"):
        return None
    hashed = hashlib.sha256()
    for each in _content(node):
        if isinstance(each, bytes):
            hashed.update(each)
        elif isinstance(each[0], _Node):
            part = _constant(each[0], known)
            if part is None:
                return None
            hashed.update(part)
        else:
            hashed.update(_atom(each[0]))
    known[id(node)] = b"constant " + hashed.digest()
    return known[id(node)]


def _atom(value: Any) -> bytes:
    content = value if isinstance(value, bytes) else repr(value).encode()
    return f"{type(value).__name__} {len(content)} ".encode() + content


# -- comparing -------------------------------------------------------------------------------------


def _differing(old: Any, new: Any, entered: set[tuple[int, int]]) -> list[str] | None:
    """The names that lead to the first difference; None where there is none."""
    if (id(old), id(new)) in entered or _digest(old) == _digest(new):
        return None
    entered.add((id(old), id(new)))
    if not isinstance(old, _Node) or not isinstance(new, _Node) or old.kind != new.kind:
        return []
    if new.makes("_create_function") and old.makes("_create_function"):
        return _differing_functions(old, new, entered)
    if new.kind in ("dict", "globals"):
        return _differing_items(_items(old), _items(new), entered)
    if new.makes("_create_code") or new.kind in ("set", "frozenset"):
        return []
    name = [_name(new)] if new.makes("_create_type") else []
    for before, after in zip((*old.parts, *old.effects), (*new.parts, *new.effects)):
        found = _differing(before, after, entered)
        if found is not None:
            return [*name, *found]
    return name


def _differing_functions(old: _Node, new: _Node, entered: set[tuple[int, int]]) -> list[str]:
    """A function's name, or what it takes from outside, by the name that it has there."""
    before, after = old.parts[1].parts, new.parts[1].parts
    if _digest(before[0]) == _digest(after[0]):
        outside = _differing(before[1], after[1], entered)
        if outside is not None:
            return outside
        if isinstance(before[4], _Node) and isinstance(after[4], _Node):
            free = after[0].parts[1].parts[-2].parts
            for name, one, other in zip(free, before[4].parts, after[4].parts):
                inside = _differing(one, other, entered)
                if inside is not None:
                    return [str(name), *inside]
    return [_name(new)]


def _differing_items(
    old: dict[str, Any], new: dict[str, Any], entered: set[tuple[int, int]]
) -> list[str]:
    for key in sorted({*new, *old}):
        if key not in old or key not in new:
            return [key]
        found = _differing(old[key], new[key], entered)
        if found is not None:
            return [key, *found]
    return []


def _items(node: _Node) -> dict[str, Any]:
    return {str(key): value for key, value in zip(node.parts[::2], node.parts[1::2])}


def _name(node: _Node) -> str:
    at = 1 if node.makes("_create_type") else 2
    return str(node.parts[1].parts[at])
