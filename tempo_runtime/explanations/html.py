"""Explanations as HTML, for notebooks, files and pages: without scripts, and nothing is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tempo_runtime._util import html
from tempo_runtime.explanations import reading

_MOST = 12  # effects in one picture; the rest are added up

# Colours that can be told apart on white and on black, and by the colour-blind (Okabe and Ito, 2008).
_STYLE = """
.tempo-explanation .rule{display:inline-block;border:1px solid #0072b2;border-radius:.4rem;
padding:.1rem .6rem;margin:.15rem .3rem .15rem 0}
.tempo-explanation .bar{position:relative;width:45%;min-width:6rem}
.tempo-explanation .bar span{position:absolute;top:.3rem;bottom:.3rem;border-radius:2px}
.tempo-explanation .more{background:#0072b2}.tempo-explanation .less{background:#d55e00}
.tempo-explanation .changed{font-weight:600}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body>
<h1 style="font:600 20px system-ui,sans-serif">{title}</h1>
{pictures}
</body>
</html>
"""


def picture(explanation: Any) -> str:
    """Return one HTML element that shows an explanation of any kind."""
    style = html.style("tempo-explanation") + _STYLE
    content = _content(explanation).encode(errors="replace").decode()  # half a surrogate pair
    return f'<div class="tempo-explanation"><style>{style}</style>{content}</div>'


def page(title: str, explanations: Sequence[Any]) -> str:
    """Return a whole HTML document with the pictures of explanations.

    Args:
        title: What was explained.
        explanations: The explanations of one row or of several.
    """
    pictures = []
    for row, explanation in enumerate(explanations):
        heading = f"<h2 style='font:600 16px system-ui,sans-serif'>Explanation {row + 1}</h2>"
        pictures.append((heading if len(explanations) > 1 else "") + picture(explanation))
    return _PAGE.format(title=escape(title), pictures="\n".join(pictures))


def _content(explanation: Any) -> str:
    if (anchor := reading.anchor(explanation)) is not None:
        return _anchor(anchor)
    if effects := reading.effects(explanation):
        return "".join(map(_effects, effects))
    if (counterfactual := reading.counterfactual(explanation)) is not None:
        names = reading.feature_names(explanation, len(counterfactual.changed))
        return _counterfactual(counterfactual, names)
    rows = (
        html.row(html.heading(name), html.cell(text)) for name, text in reading.summary(explanation)
    )
    return html.table("parts of the explanation", (), rows)


def _anchor(anchor: reading.Anchor) -> str:
    if anchor.rules:
        rules = " and ".join(f'<span class="rule">{escape(rule)}</span>' for rule in anchor.rules)
        parts = [f"<p>The prediction stays the same if<br>{rules}</p>"]
    else:
        parts = ["<p>The prediction stays the same in any case, whatever else changes.</p>"]
    rows = [
        _share("precision", anchor.precision, "how often the prediction stays the same then"),
        _share("coverage", anchor.coverage, "how much of the data the rules hold for"),
    ]
    parts.append(html.table("precision and coverage", (), rows))
    if anchor.threshold is not None and anchor.precision < anchor.threshold:
        parts.append(f"<p>Less precise than the requested {anchor.threshold:g}.</p>")
    if anchor.incomplete:
        parts.append(f"<p>Incomplete: {escape(str(anchor.incomplete))}</p>")
    return "".join(parts)


def _effects(effects: reading.Effects) -> str:
    ordered = sorted(effects.values.items(), key=lambda item: -abs(item[1]))
    shown, rest = ordered[:_MOST], ordered[_MOST:]
    if rest:
        shown.append((f"{len(rest)} further features", sum(value for _, value in rest)))
    largest = max((abs(value) for _, value in shown), default=0) or 1
    signed = any(value < 0 for _, value in shown)
    rows = [
        html.row(html.heading(name), _bar(value / largest, signed), _number(f"{value:+.4g}"))
        for name, value in shown
    ]
    if effects.base is not None:
        total = effects.base + sum(effects.values.values())
        rows.append(
            html.row(
                html.heading("base"),
                html.cell(f"{effects.base:.4g}, with all effects {total:.4g}", "note"),
                _number(""),
            )
        )
    return html.table(f"effects of the features: {effects.title}", (), rows)


def _counterfactual(counterfactual: reading.Counterfactual, names: Sequence[str]) -> str:
    original: Sequence[Any] = counterfactual.original
    if len(original) != len(counterfactual.changed):
        original = [None] * len(counterfactual.changed)
    rows = []
    for name, before, after in zip(names, original, counterfactual.changed):
        changed = before is not None and before != after
        rows.append(
            html.row(
                html.heading(name),
                html.cell(_value(before)),
                html.cell(
                    _value(after) + (" (changed)" if changed else ""), "changed" if changed else ""
                ),
            )
        )
    rows.append(
        html.row(
            html.heading("class"),
            html.cell(_value(counterfactual.original_class)),
            html.cell(_value(counterfactual.changed_class)),
        )
    )
    return html.table(
        "the closest row with another class", ("", "original", "counterfactual"), rows
    )


def _number(text: str) -> str:
    return html.cell(text, "number")


def _share(name: str, share: float, meaning: str) -> str:
    return html.row(
        f'<th title="{meaning}">{name}</th>', _bar(share, False), _number(f"{share:.1%}")
    )


def _bar(share: float, signed: bool) -> str:
    """Return a bar from -1 to 1, or from 0 to 1 if nothing is negative."""
    width = min(abs(share), 1.0) * (50 if signed else 100)
    left = 0.0 if not signed else 50.0 - (width if share < 0 else 0)
    style = "less" if share < 0 else "more"
    bar = f'<span class="{style}" style="left:{left:.4g}%;width:{width:.4g}%"></span>'
    return f'<td class="bar" aria-hidden="true">{bar}</td>'


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
