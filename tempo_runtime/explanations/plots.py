"""Explanations as plots of matplotlib, which need not be installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tempo_runtime.errors import PayloadError, SettingsError
from tempo_runtime.explanations import reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MORE, _LESS = "#0072b2", "#d55e00"  # Okabe and Ito's, as in the HTML


def draw(explanation: Any, ax: Axes | None) -> Axes:
    """Draw an explanation; `Explanation.plot` documents it."""
    title, bars = _bars(explanation)
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise SettingsError("a plot needs matplotlib: pip install matplotlib") from error
    if ax is None:
        _, ax = pyplot.subplots(figsize=(7, 1 + 0.35 * len(bars)), layout="constrained")
    # From the bottom up: the largest effect is at the top.
    names, values = list(bars)[::-1], list(bars.values())[::-1]
    drawn = ax.barh(
        range(len(names)), values, color=[_LESS if value < 0 else _MORE for value in values]
    )
    ax.set_yticks(range(len(names)), names)
    ax.bar_label(drawn, fmt="%.3g", padding=3)
    ax.margins(x=0.15)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_title(title, loc="left", wrap=True)
    return ax


def _bars(explanation: Any) -> tuple[str, Mapping[str, float]]:
    if (anchor := reading.anchor(explanation)) is not None:
        rules = " and ".join(anchor.rules) or "in any case"
        return (
            f"The prediction stays the same if {rules}",
            {"precision": anchor.precision, "coverage": anchor.coverage},
        )
    if effects := reading.effects(explanation):
        first = effects[0]
        return f"Effects: {first.title}", dict(
            sorted(first.values.items(), key=lambda item: -abs(item[1]))
        )
    if (counterfactual := reading.counterfactual(explanation)) is not None:
        return _changes(explanation, counterfactual)
    raise PayloadError(
        "this kind of explanation has no plot; anchors, effects of features and counterfactuals have"
    )


def _changes(
    explanation: Any, counterfactual: reading.Counterfactual
) -> tuple[str, Mapping[str, float]]:
    if len(counterfactual.original) != len(counterfactual.changed):
        raise PayloadError("this counterfactual came without its original, so changes are unknown")
    names = reading.feature_names(explanation, len(counterfactual.changed))
    try:
        changes = {
            name: float(after) - float(before)
            for name, before, after in zip(names, counterfactual.original, counterfactual.changed)
            if before != after
        }
    except (TypeError, ValueError) as error:
        raise PayloadError("this counterfactual changes texts, which have no plot") from error
    title = f"Changes from class {counterfactual.original_class} to {counterfactual.changed_class}"
    return title, changes
