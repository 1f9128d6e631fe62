"""A graph as a Mermaid flowchart, for Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tempo_runtime._util.printable import printable
from tempo_runtime.execution.graph.nodes import Node

_FAULTY = "classDef faulty stroke:#cf222e,stroke-dasharray:4"
_NAMES = str.maketrans({'"': "&quot;", "#": "&num;"})


def mermaid(node: Node) -> str:
    """Return the graph as the text of a flowchart."""
    return "\n".join(["flowchart LR", *_lines(node, "n"), f"    {_FAULTY}", ""])


def _lines(node: Node, node_id: str) -> Iterator[str]:
    """Yield the lines of a node and of all nodes below it, whose ids begin with its id."""
    label = [f"<b>{_escaped(node.name)}</b>", _escaped(node.kind)]
    if node.fault is not None:
        label.append(_escaped(node.fault))
    opening, closing = ('(["', '"])') if node.platform == "tempo" else ('["', '"]')
    faulty = "" if node.fault is None else ":::faulty"
    yield f"    {node_id}{opening}{'<br>'.join(label)}{closing}{faulty}"
    for number, edge in enumerate(node.edges):
        child_id = f"{node_id}_{number}"
        yield from _lines(edge.node, child_id)
        yield f'    {node_id} -->|"{_escaped(edge.alias)}<br>{_escaped(edge.way)}"| {child_id}'


def _escaped(text: str) -> str:
    """Escape text as HTML with named entities: Mermaid interprets `#` and a number."""
    return escape(printable(" ".join(text.split())), quote=False).translate(_NAMES)
