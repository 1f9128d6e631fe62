"""Server-side apply, as far as the objects of these tests need it: lists are one field each."""

from __future__ import annotations

import copy
from typing import Any

Fields = dict[tuple[str, ...], Any]


class Conflict(Exception):
    """Fields that other managers have: (field, manager)."""


def fields(item: dict[str, Any]) -> Fields:
    """Return the fields that an object states, without those that identify it."""
    found: Fields = {}

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, (*path, key))
        else:
            found[path] = value

    walk({"spec": item.get("spec", {})}, ())
    metadata = {part: item["metadata"].get(part) for part in ("labels", "annotations")}
    walk({"metadata": {part: value for part, value in metadata.items() if value}}, ())
    return {path: value for path, value in found.items() if path != ("metadata",)}


def apply(
    live: dict[str, Any] | None, document: dict[str, Any], manager: str, force: bool = False
) -> dict[str, Any]:
    """The object after an apply.

    Raises:
        Conflict: If another manager's field would change.
    """
    merged = copy.deepcopy(live) if live else {"metadata": {"name": document["metadata"]["name"]}}
    merged |= {key: document[key] for key in ("apiVersion", "kind")}
    merged["metadata"].setdefault("namespace", document["metadata"]["namespace"])
    owned = {
        each["manager"]: {tuple(path) for path in each["fields"]}
        for each in merged["metadata"].get("managedFields", [])
    }
    new, now = fields(document), fields(merged)
    others = [(name, paths) for name, paths in owned.items() if name != manager]
    conflicts = [
        (".".join(path), name)
        for name, paths in others
        for path in sorted(paths)
        if path in new and now.get(path) != new[path]
    ]
    if conflicts and not force:
        raise Conflict(conflicts)
    for name, paths in others:
        owned[name] = {path for path in paths if path not in new or now.get(path) == new[path]}
    for path in owned.get(manager, set()) - set(new):
        if not any(path in paths for _, paths in others):
            _drop(merged, path)
    for path, value in new.items():
        _put(merged, path, copy.deepcopy(value))
    owned[manager] = set(new)
    merged["metadata"]["managedFields"] = [
        {"manager": name, "fields": sorted(map(list, paths))} for name, paths in owned.items()
    ]
    return merged


def _put(item: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        item = item.setdefault(key, {})
    item[path[-1]] = value


def _drop(item: dict[str, Any], path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        item = item.get(key, {})
    item.pop(path[-1], None)
