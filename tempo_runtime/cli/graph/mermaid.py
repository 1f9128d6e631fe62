"""A graph as a Mermaid flowchart, for Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tempo_runtime._util.printable import printable
from tempo_runtime.cli.graph.nodes import Node

_FAULTY = "classDef faulty stroke:#cf222e,stroke-dasharray:4"
_NAMES = str.maketrans({'"': "&quot;", "#": "&num;"})


def mermaid(node: Node) -> str:
    """Return the graph as the text of a flowchart."""
    return "\n".join(["flowchart LR", *_lines(node, "n"), f"    {_FAULTY}", ""])


def _lines(node: Node, own: str) -> Iterator[str]:
    """Yield the lines of a node and of all below it, whose ids begin with its own."""
    label = [f"<b>{_escaped(node.name)}</b>", _escaped(node.kind)]
    if node.fault is not None:
        label.append(_escaped(node.fault))
    opening, closing = ('(["', '"])') if node.platform == "tempo" else ('["', '"]')
    faulty = "" if node.fault is None else ":::faulty"
    yield f"    {own}{opening}{'<br>'.join(label)}{closing}{faulty}"
    for number, edge in enumerate(node.edges):
        below = f"{own}_{number}"
        yield from _lines(edge.node, below)
        yield f'    {own} -->|"{_escaped(edge.alias)}<br>{_escaped(edge.way)}"| {below}'


def _escaped(text: str) -> str:
    """Return a text as HTML for a Mermaid label, with named entities: Mermaid reads `#` and a number."""
    return escape(printable(" ".join(text.split())), quote=False).translate(_NAMES)
