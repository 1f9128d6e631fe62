"""Read explanations without the explainer's library.

They have the structure of alibi's: an object with `meta` and `data`, as JSON text or as it is.
https://docs.seldon.io/projects/alibi/en/stable/overview/algorithms.html lists the explainers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_TEXT = 60


@dataclass(frozen=True)
class Anchor:
    """Rules that are enough for a prediction to stay as it is.

    Attributes:
        rules: The conditions, which hold together; empty if none is needed.
        precision: How often the prediction stays the same where the rules hold, 0 to 1.
        coverage: Share of the data for which the rules hold, 0 to 1.
        threshold: The requested precision; None if it is unknown.
        incomplete: Why the search ended before it was complete; None if it was complete.
    """

    rules: tuple[str, ...]
    precision: float
    coverage: float
    threshold: float | None = None
    incomplete: str | None = None


@dataclass(frozen=True)
class Effects:
    """How much each feature adds to one output of a model.

    Attributes:
        title: Which row and output it is about.
        values: The features' effects by name, in the model's order.
        base: The output without any feature, to which the effects are added; None if it is unknown.
    """

    title: str
    values: Mapping[str, float]
    base: float | None = None


@dataclass(frozen=True)
class Counterfactual:
    """A row close to the original that the model answers differently.

    Attributes:
        original: Values of the original row; empty where the explanation does not have them.
        changed: Values of the counterfactual row.
        original_class: The model's class of the original; None if it is unknown.
        changed_class: The model's class of the counterfactual; None if it is unknown.
    """

    original: tuple[Any, ...]
    changed: tuple[Any, ...]
    original_class: Any = None
    changed_class: Any = None


def read(value: Any) -> Any:
    """Decode an explanation that is JSON text, and return any other as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def is_explanation(value: Any) -> bool:
    """Return whether a decoded value has the structure of an explanation."""
    if not isinstance(value, Mapping):
        return False
    parts = (value.get("meta"), value.get("data"))
    return all(isinstance(part, Mapping) for part in parts) or anchor(value) is not None


def anchor(explanation: Any) -> Anchor | None:
    """Return the anchor that an explanation holds; None if it is of another kind."""
    if not isinstance(explanation, Mapping):
        return None
    data, meta = explanation.get("data", explanation), explanation.get("meta") or {}
    try:
        return Anchor(
            tuple(map(str, data["anchor"])),
            float(np.squeeze(data["precision"])),
            float(np.squeeze(data["coverage"])),
            _number((meta.get("params") or {}).get("threshold")),
            meta.get("incomplete"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def effects(explanation: Any) -> list[Effects]:
    """Return the effects of features that an explanation holds: Shapley values, gradients or importances.

    Of a classifier's outputs only the predicted one is returned for each row, where it is known.
    """
    data = explanation.get("data") if isinstance(explanation, Mapping) else None
    if not isinstance(data, Mapping):
        return []
    try:
        if data.get("shap_values"):
            return list(_shapley(data, explanation.get("meta") or {}))
        if data.get("attributions"):
            return list(_gradients(data))
        if data.get("feature_importance"):
            return list(_importances(data))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        pass
    return []


def counterfactual(explanation: Any) -> Counterfactual | None:
    """Return the counterfactual that an explanation holds, if it holds one."""
    data = explanation.get("data") if isinstance(explanation, Mapping) else None
    if not isinstance(data, Mapping):
        return None
    try:
        if data.get("cf"):
            changed, original = data["cf"], data.get("orig") or {}
            return Counterfactual(
                _row(original.get("X")),
                _row(changed["X"]),
                _one(original.get("class", data.get("orig_class"))),
                _one(changed.get("class")),
            )
        if data.get("PN") is not None:
            return Counterfactual(
                _row(data.get("X")),
                _row(data["PN"]),
                _one(data.get("X_pred")),
                _one(data.get("PN_pred")),
            )
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None


def feature_names(explanation: Any, count: int) -> list[str]:
    """Return the features' names that an explanation holds, or numbers in their place."""
    data = explanation.get("data") if isinstance(explanation, Mapping) else None
    meta = explanation.get("meta") if isinstance(explanation, Mapping) else None
    params = meta.get("params") if isinstance(meta, Mapping) else None
    for holder in (data, params):
        names = holder.get("feature_names") if isinstance(holder, Mapping) else None
        if isinstance(names, Sequence) and len(names) == count:
            return _distinct(list(map(str, names)))
    return [f"feature {position}" for position in range(count)]


def _distinct(names: list[str]) -> list[str]:
    """Return names of which no two are equal: an effect is looked up by its name."""
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} (feature {position})"
        for position, name in enumerate(names)
    ]


def headline(explanation: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and value of what matters most in an explanation, for one line of text."""
    if (rules := anchor(explanation)) is not None:
        yield "anchor", " and ".join(rules.rules) or "always"
        yield "precision", f"{rules.precision:.3f}"
        yield "coverage", f"{rules.coverage:.1%}"
    for one in effects(explanation)[:1]:
        if not one.values:  # of rows without features
            continue
        name, value = max(one.values.items(), key=lambda item: abs(item[1]))
        yield "largest effect", f"{name} {value:+.4g}"
    if (other := counterfactual(explanation)) is not None:
        yield "counterfactual", f"class {other.changed_class}"


def summary(explanation: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and a short description of each part of any explanation."""
    data = explanation.get("data", explanation) if isinstance(explanation, Mapping) else explanation
    if not isinstance(data, Mapping):
        yield "explanation", _short(data)
        return
    for name, part in data.items():
        yield str(name), _short(part)


def _shapley(data: Mapping[str, Any], meta: Mapping[str, Any]) -> Iterator[Effects]:
    values = np.asarray(data["shap_values"], float)  # outputs x rows x features
    base = np.ravel(np.asarray(data["expected_value"], float))
    if values.ndim != 3 or len(base) != len(values):
        raise ValueError("not the Shapley values of rows")
    predicted = np.ravel((data.get("raw") or {}).get("prediction") or [])
    classifier = meta.get("task") == "classification" and len(predicted) == values.shape[1]
    if classifier and not set(predicted.tolist()) <= set(range(len(values))):
        classifier = False  # these are not positions of outputs
    names = feature_names({"data": data, "meta": meta}, values.shape[2])
    for row in range(values.shape[1]):
        outputs = [int(predicted[row])] if classifier and len(values) > 1 else range(len(values))
        for output in outputs:
            yield Effects(
                f"row {row}, output {output}" if len(values) > 1 else f"row {row}",
                dict(zip(names, values[output, row].tolist())),
                float(base[output]),
            )


def _gradients(data: Mapping[str, Any]) -> Iterator[Effects]:
    inputs = [np.asarray(part, float) for part in data["attributions"]]
    for position, values in enumerate(inputs):
        if values.ndim != 2:
            raise ValueError("the attributions of an image or of a text")
        names = feature_names({"data": data}, values.shape[1])
        for row, one in enumerate(values.tolist()):
            title = f"row {row}, input {position}" if len(inputs) > 1 else f"row {row}"
            yield Effects(title, dict(zip(names, one)))


def _importances(data: Mapping[str, Any]) -> Iterator[Effects]:
    metrics = data.get("metric_names") or [""]
    for metric, features in zip(metrics, data["feature_importance"]):
        values = [one["mean"] if isinstance(one, Mapping) else one for one in features]
        names = feature_names({"data": data}, len(values))
        yield Effects(str(metric), dict(zip(names, map(float, values))))


def _row(values: Any) -> tuple[Any, ...]:
    array = np.asarray(values if values is not None else (), object)
    while array.ndim > 1 and len(array) == 1:
        array = array[0]
    if array.ndim > 1:
        raise ValueError("several rows, an image or a text")
    return tuple(array.tolist())


def _one(value: Any) -> Any:
    array = np.asarray(value, object)
    return array.ravel()[0] if array.size == 1 else None


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return _cut(", ".join(f"{name}: {_short(part)}" for name, part in value.items()))
    if isinstance(value, list | np.ndarray):
        try:
            array = np.asarray(value)
        except ValueError:  # ragged
            array = np.asarray(value, object)
        if array.dtype.kind in "biuf" and array.size:
            some = ", ".join(f"{number:.4g}" for number in array.ravel()[:6])
            more = ", ..." if array.size > 6 else ""
            shape = f"{' x '.join(map(str, array.shape))}: " if array.size > 1 else ""
            return f"{shape}{some}{more}"
        return _cut(", ".join(_short(part) for part in value)) or "nothing"
    return f"{value:.4g}" if isinstance(value, float) else _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
