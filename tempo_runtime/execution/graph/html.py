"""Show a pipeline in a notebook: what it takes and gives, and its graph."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Iterator
from html import escape

from tempo_runtime._util import html
from tempo_runtime._util.printable import printable
from tempo_runtime.authoring.models import Model
from tempo_runtime.errors import TempoError
from tempo_runtime.execution.graph import reading
from tempo_runtime.execution.graph.nodes import Node
from tempo_runtime.execution.graph.svg import svg
from tempo_runtime.protocol.signature import Kind, Signature, TensorSpec


def picture(model: Model) -> str:
    """Return one HTML element that shows a model, or a pipeline and the models it calls."""
    details = model.details
    try:
        node = reading.of_model(model)
    except TempoError as error:
        # Its settings are invalid, or a child's class needs arguments: its call says so, too.
        return html.element(details.name, details.platform.value, html.paragraph(str(error)))
    parts = [html.paragraph(details.description)]
    if details.signature is not None:
        parts.append(html.code(_call(details.name, details.signature)))
    return html.element(details.name, node.kind, *parts, _image(node))


def _image(node: Node) -> str:
    # As an image, because a notebook's page has other drawings, which its style would change.
    drawn = base64.b64encode(svg(node).encode()).decode()
    words = printable("; ".join(_calls(node)) or f"{node.name}, {node.kind}")
    return f'<img alt="{escape(words)}" src="data:image/svg+xml;base64,{drawn}">'


def _calls(node: Node) -> Iterator[str]:
    """Yield the calls of a pipeline, and of those below it, in words."""
    for edge in node.edges:
        yield f"{node.name} calls {edge.node.name} ({edge.node.kind}, {edge.way})"
        yield from _calls(edge.node)


def _call(name: str, signature: Signature) -> str:
    inputs = ", ".join(
        f"{spec.name}: {_type(spec)}" + ("" if spec.required else " = ...")
        for spec in signature.inputs
    )
    outputs = ", ".join(map(_type, signature.outputs))
    if signature.form in ("tuple", "named") and outputs:
        outputs = f"({outputs})"
    return f"{name}({inputs})" + (f" -> {outputs}" if outputs else "")


def _type(spec: TensorSpec) -> str:
    text = inspect.formatannotation(spec.hint)
    if spec.kind is Kind.ARRAY:
        text = "ndarray" if spec.dtype is None else f"ndarray of {spec.dtype}"
    return f"{text} | None" if spec.nullable else text
