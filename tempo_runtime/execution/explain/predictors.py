"""Check that all parts of an explainer call the same predictor.

Some of alibi's explainers store their predictor twice, and their attribute `predictor` is one of the two.
After setting only that one, they continue to explain the old model, without a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from tempo_runtime.authoring.instances import stored
from tempo_runtime.errors import PipelineFailed
from tempo_runtime.execution.explain.copies import is_of

# numpy's message when shap copies a predictor's answer into its array.
_RESHAPED = re.compile(r"cannot reshape array of size (\d+) into shape \((\d+),(\d+)\)")
_MAIN, _TREES = "predictor", "trees"


def places(explainer: Any) -> dict[str, Any]:
    """Return the predictors of an explainer, by attribute."""
    return {_MAIN: _main(explainer), **dict(_places(explainer))}


def refuse_two(explainer: Any, given: dict[str, Any]) -> None:
    """Refuse an explainer that would explain another model than its predictor.

    Args:
        explainer: One of alibi's explainers.
        given: Its `places` when the request began; a later change is taken as intended.

    Raises:
        PipelineFailed: If the predictors differ; the message says how to set both.
    """
    main = _main(explainer)
    for place, second in _places(explainer):
        if _TREES in place:  # which shap has extracted from the model
            if main is given[_MAIN] or second is not given.get(place):
                continue
        elif _same(main, second):
            continue
        # A change within the request is intended, unless both were changed, to different models.
        on_purpose = main is given[_MAIN] or not (_plain(main) and _plain(second))
        if second is not given.get(place, second) and on_purpose:
            continue
        name = type(explainer).__name__
        remedy = (
            "call `explainer.reset_predictor(...)`, which sets both"
            if place.startswith(("samplers", "_explainer"))
            else f"set `explainer.{place}`"
        )
        raise PipelineFailed(
            f"{name} has two predictors that differ: `predictor` is {_named(main)}, but `{place}`, "
            f"the one it calls, is {_named(second)}, so it would explain that model. Instead of setting "
            f"`predictor`, {remedy}"
        )


def refuse_other_outputs(explainer: Any, error: Exception) -> None:
    """Explain an error of KernelShap if its predictor returns another number of outputs than before.

    Args:
        explainer: One of alibi's explainers.
        error: The exception that it raised, which mentions only shapes.

    Raises:
        PipelineFailed: If that is the cause; the message has both numbers, and the setting to correct.
    """
    made = getattr(stored(explainer).get("_explainer"), "D", None)  # number of outputs, in shap
    shapes = _RESHAPED.search(str(error))
    if shapes is None or made is None or int(shapes[3]) != made:
        return
    name, given = type(explainer).__name__, int(shapes[1]) / int(shapes[2])
    raise PipelineFailed(
        f"{name} was created with a predictor that returned {made} outputs for each row, but now its "
        f"predictor returns {given:g}; if that is a child, correct its setting `output`: `predict_proba` "
        "for probabilities, `predict` for labels"
    ) from error


def _places(explainer: Any) -> Iterator[tuple[str, Any]]:
    held = stored(explainer)
    if "_predictor" in held or "predictor" in held:
        for number, sampler in enumerate(held.get("samplers") or ()):
            if hasattr(sampler, "predictor"):
                yield f"samplers[{number}].predictor", sampler.predictor
        shaps = getattr(held.get("_explainer"), "model", None)
        for name in ("f", _TREES):  # KernelShap, TreeShap
            if is_of(shaps, ("shap",)) and name in stored(shaps):
                yield f"_explainer.model.{name}", getattr(shaps, name)
        if "pd_explainer" in held:
            yield "pd_explainer.predictor", held["pd_explainer"].predictor
        if isinstance(held.get("params"), dict) and "predictor" in held["params"]:
            yield 'params["predictor"]', held["params"]["predictor"]


def _main(explainer: Any) -> Any:
    # AnchorTabular's property returns the predictor for encoded columns; its samplers call this one.
    held = stored(explainer)
    return held["_predictor"] if "_predictor" in held else held.get("predictor")


def _plain(predictor: Any) -> bool:
    """Return whether a predictor is a model or a model's method, not an arbitrary function."""
    return not isinstance(_underneath(predictor), (FunctionType, partial))


def _underneath(predictor: Any) -> Any:
    """Return the model inside the wrappers of alibi and this package."""
    while is_of(predictor, ("alibi", "tempo_runtime")) and "predictor" in stored(predictor):
        predictor = predictor.predictor
    return predictor


def _same(one: Any, other: Any) -> bool:
    one, other = _underneath(one), _underneath(other)
    if one is other:
        return True
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__func__ is other.__func__ and _same(one.__self__, other.__self__)
    if isinstance(one, partial) and isinstance(other, partial):
        parts = (one.func, one.args, one.keywords), (other.func, other.args, other.keywords)
        return _all_same(*parts)
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return _all_same(_parts(one), _parts(other))
    return _equal(one, other)


def _parts(function: FunctionType) -> tuple[Any, ...]:
    """Return the parts of a function that determine what it does."""
    code = function.__code__
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    written = (code.co_code, code.co_consts, code.co_names, code.co_freevars)
    return *written, function.__defaults__, *cells


def _all_same(ones: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(ones) == len(others) and all(map(_same, ones, others))


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(type(one) is type(other) and one == other)
    except Exception:  # such as two arrays
        return False


def _named(predictor: Any) -> str:
    model = _underneath(predictor)
    name: Callable[..., Any] | str = getattr(model, "__qualname__", "")
    return f"`{name}`" if name else f"{model!r:.80}"
