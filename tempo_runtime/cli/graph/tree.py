"""Draw a graph as text for a terminal."""

from __future__ import annotations

import os

from rich.text import Text
from rich.tree import Tree

from tempo_runtime.execution.graph.nodes import Edge, Node


def tree(node: Node) -> Tree:
    """Return the graph as a tree that rich prints."""
    root = Tree(_label(node))
    _grow(root, node)
    return root


def _grow(branch: Tree, node: Node) -> None:
    for edge in node.edges:
        _grow(branch.add(_label(edge.node, edge)), edge.node)


def _label(node: Node, edge: Edge | None = None) -> Text:
    text = Text()
    if edge is not None:
        text.append(f"{edge.alias}: ")
    text.append(node.name, "bold").append(f"  {node.kind}")
    if edge is not None:
        text.append(f", {edge.way}", "cyan")
    if node.folder is not None and (edge is None or not edge.urls):
        text.append(f"  {_near(node.folder)}", "dim")
    if node.fault is not None:
        text.append(f"\n✗ {node.fault}", "red")
    return text


def _near(folder: str) -> str:
    """Return a folder relative to the working directory if it is near."""
    relative = os.path.relpath(folder)
    return folder if relative.startswith(f"..{os.sep}..") else relative
