"""HTML for notebooks and pages: one style, without scripts, and nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

# Text has the colour of its page and no background, so that it can be read on white and on black.
_STYLE = Template("""
.$name{font:14px/1.5 system-ui,sans-serif;max-width:44rem;margin:.5rem 0}
.$name table{border-collapse:collapse;width:100%;margin:.3rem 0}
.$name th,.$name td{text-align:left;padding:.15rem .6rem .15rem 0;
background:none;color:inherit;border:0;vertical-align:middle}
.$name .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.$name .note{opacity:.75}
""")
_OURS = """
.tempo{max-width:60rem}
.tempo th,.tempo td{vertical-align:top;overflow-wrap:anywhere;white-space:pre-line}
.tempo tbody th{white-space:nowrap;font-weight:600}
.tempo p{margin:.2rem 0}.tempo img{max-width:100%;height:auto}
.tempo .good{color:#009e73}.tempo .bad{color:#d55e00}
"""


def style(name: str) -> str:
    """Return the rules for an element of a class.

    Args:
        name: The class.
    """
    return _STYLE.substitute(name=name)


def element(title: str, note: str, *parts: str) -> str:
    """Return one element with a title.

    Args:
        title: The name of the object that is shown.
        note: What it is, beside its name.
        parts: HTML, which is already escaped.
    """
    heading = f'<p><strong>{escape(title)}</strong> <span class="note">{escape(note)}</span></p>'
    return (
        f'<div class="tempo"><style>{style("tempo")}{_OURS}</style>{heading}{"".join(parts)}</div>'
    )


def paragraph(text: str) -> str:
    """Return a paragraph; nothing for an empty text."""
    return f"<p>{escape(text)}</p>" if text else ""


def code(text: str) -> str:
    """Return a line of code."""
    return f"<p><code>{escape(text)}</code></p>"


def table(caption: str, headings: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table.

    Args:
        caption: What it shows; empty for none.
        headings: The headings of its columns; empty for none.
        rows: Its rows, as `row` makes them.
    """
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    if caption:
        caption = f'<caption class="note" style="text-align:left">{escape(caption)}</caption>'
    return f"<table>{caption}{head}<tbody>{''.join(rows)}</tbody></table>"


def row(*cells: str) -> str:
    """Return a row of cells."""
    return f"<tr>{''.join(cells)}</tr>"


def heading(text: str) -> str:
    """Return the cell that names a row."""
    return f"<th>{escape(text)}</th>"


def cell(text: str, kind: str = "") -> str:
    """Return a cell.

    Args:
        text: Its text.
        kind: Its class in the style; empty for none.
    """
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"
