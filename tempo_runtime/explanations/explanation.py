"""One explanation, to read and to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tempo_runtime.errors import PayloadError
from tempo_runtime.explanations import html, reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Explanation:
    """An explanation of alibi's structure, which a notebook shows as a picture.

    It reads what an explainer's pipeline answers, and needs neither alibi nor the explainer.

    Args:
        value: The explanation: JSON text, as alibi's `to_json()` writes it, the same as a dict, or
            alibi's object.

    Attributes:
        meta: The explainer's name and parameters.
        data: The explanation's values, as alibi documents them for each explainer.

    Raises:
        PayloadError: If the value is not one explanation; `Explanation.many` takes a list of them.

    Example:
        >>> text = '{"meta": {}, "data": {"anchor": ["age > 30"], "precision": 0.97, "coverage": 0.2}}'
        >>> Explanation(text).anchor.rules
        ('age > 30',)
    """

    def __init__(self, value: Any) -> None:
        self._value = _mapping(value)
        self.meta: Mapping[str, Any] = self._value["meta"]
        self.data: Mapping[str, Any] = self._value["data"]

    @classmethod
    def many(cls, value: Any) -> list[Explanation]:
        """Read the explanations of several rows, which an explainer returns as a JSON array.

        Args:
            value: JSON text or a list of explanations; a single one gives a list of one.

        Raises:
            PayloadError: If a part of the value is not an explanation.
        """
        value = reading.read(value)
        return [cls(part) for part in value] if isinstance(value, list) else [cls(value)]

    @property
    def anchor(self) -> reading.Anchor | None:
        """The rules of an anchor explainer; None if the explanation is of another kind."""
        return reading.anchor(self._value)

    @property
    def effects(self) -> list[reading.Effects]:
        """The features' effects (Shapley values, gradients, importances); empty for other kinds."""
        return reading.effects(self._value)

    @property
    def counterfactual(self) -> reading.Counterfactual | None:
        """The counterfactual beside the original; None if the explanation is of another kind."""
        return reading.counterfactual(self._value)

    def html(self) -> str:
        """Return the picture as HTML: one element without scripts, which needs no network."""
        return html.picture(self._value)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the explanation with matplotlib.

        Args:
            ax: Where to draw; a new figure by default.

        Raises:
            SettingsError: If matplotlib is not installed.
            PayloadError: If the explanation is of a kind that has no plot.
        """
        from tempo_runtime.explanations import plots

        return plots.draw(self._value, ax)

    def __repr__(self) -> str:
        name = self.meta.get("name") or "explanation"
        parts = "; ".join(f"{part}: {text}" for part, text in reading.headline(self._value))
        return f"<{name} {parts}>" if parts else f"<{name}>"

    def _repr_html_(self) -> str:
        return self.html()


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, str | Mapping) and callable(getattr(value, "to_json", None)):
        value = value.to_json()
    value = reading.read(value)
    if isinstance(value, Mapping):
        value = dict(value)
        data, meta = value.get("data", value), value.get("meta") or {}
        if isinstance(data, Mapping) and isinstance(meta, Mapping):
            # As a client would get it: lists where alibi has arrays.
            return {"meta": meta, "data": json.loads(json.dumps(data, default=_listed))}
    if isinstance(value, list):
        raise PayloadError(
            f"these are {len(value)} explanations; read them with Explanation.many(...)"
        )
    raise PayloadError(
        f"a {type(value).__name__} is not an explanation, which is an object with `meta` and `data`"
    )


def _listed(value: Any) -> Any:
    listed = getattr(value, "tolist", None)
    return listed() if callable(listed) else str(value)
