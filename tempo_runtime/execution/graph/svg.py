"""Draw a graph as a self-contained SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import count

from tempo_runtime._util.printable import printable
from tempo_runtime.execution.graph.nodes import Edge, Node

_WIDE, _NARROW = 9.0, 6.7  # width of a letter in pixels: in names, and in smaller text
_PADDING, _MARGIN, _BEND, _ROW = 14, 20, 44, 84
_HEIGHT = 52
_TOP = _MARGIN + _HEIGHT / 2
_FAULT_LENGTH = 44
_STYLE = """
  svg { font: 12px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; color-scheme: light dark }
  .page { fill: #ffffff } .box { fill: #f6f8fa; stroke: #57606a; stroke-width: 1.2 }
  .pipeline { fill: #ddf4ff; stroke: #0969da } .faulty { stroke: #cf222e; stroke-dasharray: 4 3 }
  .edge, .tip { stroke: #57606a; stroke-width: 1.2 } .edge { fill: none } .tip { fill: #57606a }
  text { fill: #57606a } .name { fill: #1f2328; font-size: 14px; font-weight: 600 }
  .alias { fill: #1f2328; font-weight: 600 } .fault { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .box { fill: #161b22; stroke: #8b949e }
    .pipeline { fill: #0c2d4d; stroke: #58a6ff } .faulty { stroke: #ff7b72 }
    .edge, .tip { stroke: #8b949e } .tip { fill: #8b949e }
    text { fill: #9ea7b3 } .name, .alias { fill: #e6edf3 } .fault { fill: #ff7b72 }
  }
"""


@dataclass
class _Placed:
    """A node and where it is drawn.

    Attributes:
        node: The node.
        edge: The edge that leads to it; None for the root.
        depth: Number of pipelines above it.
        y: Vertical position of its middle.
        children: The models it calls.
    """

    node: Node
    edge: Edge | None
    depth: int
    y: float
    children: list[_Placed]


def svg(node: Node) -> str:
    """Return the graph as the text of an SVG, from left to right."""
    placed = _place(node, None, 0, count())
    placed_nodes = list(_walk(placed))
    columns = _columns(placed_nodes)
    right = max(left + width for left, width in columns)
    bottom = max(placed_node.y for placed_node in placed_nodes) + _HEIGHT / 2 + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + _MARGIN:.0f}" height="{bottom:.0f}" '
        f'viewBox="0 0 {right + _MARGIN:.0f} {bottom:.0f}" role="img">',
        f"<title>{_escaped(node.name)} and the models it calls</title>",
        f"<style>{_STYLE}</style>",
        '<rect class="page" width="100%" height="100%" rx="6"/>',
    ]
    for placed_node in placed_nodes:
        parts += (_edge(placed_node, below, columns) for below in placed_node.children)
        parts.append(_box(placed_node, *columns[placed_node.depth]))
    return "\n".join([*parts, "</svg>", ""])


def _place(node: Node, edge: Edge | None, depth: int, rows: Iterator[int]) -> _Placed:
    children = [_place(edge_below.node, edge_below, depth + 1, rows) for edge_below in node.edges]
    ends = [children[0].y, children[-1].y] if children else [_TOP + next(rows) * _ROW]
    return _Placed(node, edge, depth, sum(ends) / len(ends), children)


def _walk(placed: _Placed) -> Iterator[_Placed]:
    yield placed
    for child in placed.children:
        yield from _walk(child)


def _columns(placed_nodes: list[_Placed]) -> list[tuple[float, float]]:
    """Return the left side and the width of the boxes at each depth."""
    columns: list[tuple[float, float]] = []
    left: float = _MARGIN
    for depth in range(1 + max(placed_node.depth for placed_node in placed_nodes)):
        same_depth = [placed_node for placed_node in placed_nodes if placed_node.depth == depth]
        labels = [placed_node.edge for placed_node in same_depth if placed_node.edge is not None]
        if labels:
            letters = max(_NARROW * max(len(edge.alias) + 1, len(edge.way)) for edge in labels)
            left += _BEND + letters + _PADDING
        width = max(_width(placed_node.node) for placed_node in same_depth)
        columns.append((left, width))
        left += width
    return columns


def _width(node: Node) -> float:
    lines = [_WIDE * len(node.name), _NARROW * len(node.kind), _NARROW * len(_fault(node))]
    return max(lines) + 2 * _PADDING


def _fault(node: Node) -> str:
    fault = node.fault or ""
    return fault if len(fault) <= _FAULT_LENGTH else f"{fault[: _FAULT_LENGTH - 3]}..."


def _edge(above: _Placed, below: _Placed, columns: list[tuple[float, float]]) -> str:
    assert below.edge is not None
    left, width = columns[above.depth]
    start, end = left + width, columns[below.depth][0]
    bend, middle = start + _BEND, start + _BEND / 2
    path = f"M{start:.1f} {above.y:.1f} C{middle:.1f} {above.y:.1f} {middle:.1f} {below.y:.1f}"
    tip = f"{end - 7:.1f} {below.y - 4:.1f} {end:.1f} {below.y:.1f} {end - 7:.1f} {below.y + 4:.1f}"
    return (
        f'<path class="edge" d="{path} {bend:.1f} {below.y:.1f} H{end - 6:.1f}"/>'
        f'<polygon class="tip" points="{tip}"/>'
        + _line("alias", bend, below.y - 6, below.edge.alias)
        + _line("way", bend, below.y + 16, below.edge.way)
    )


def _box(placed: _Placed, left: float, width: float) -> str:
    node = placed.node
    top = placed.y - _HEIGHT / 2
    kinds = ["box", *(["pipeline"] if node.platform == "tempo" else [])]
    kinds += ["faulty"] if node.fault is not None else []
    round_ = 14 if node.platform == "tempo" else 4
    second = _fault(node) or node.kind
    return (
        f'<g><title>{_escaped(node.fault or node.folder or node.name)}</title><rect class="'
        f'{" ".join(kinds)}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_HEIGHT}" '
        f'rx="{round_}"/>'
        + _line("name", left + _PADDING, placed.y - 4, node.name)
        + _line("fault" if node.fault else "kind", left + _PADDING, placed.y + 15, second)
        + "</g>"
    )


def _line(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """Escape a text for XML, which cannot contain control characters."""
    return escape(printable(text))
