"""Check that all parts of an explainer call the same predictor.

Some of alibi's explainers hold their predictor twice, and their attribute `predictor` is one of the two.
Setting it alone goes on explaining the old model, without any sign of that.
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

# What numpy says where shap puts a predictor's answer into its own array.
_RESHAPED = re.compile(r"cannot reshape array of size (\d+) into shape \((\d+),(\d+)\)")
_MAIN, _TREES = "predictor", "trees"


def places(explainer: Any) -> dict[str, Any]:
    """Return an explainer's predictors by the attribute that holds them."""
    return {_MAIN: _main(explainer), **dict(_places(explainer))}


def refuse_two(explainer: Any, given: dict[str, Any]) -> None:
    """Refuse an explainer that would explain another model than its predictor.

    Args:
        explainer: One of alibi's.
        given: Its `places` when the request began: a place that was set since then was set on purpose.

    Raises:
        PipelineFailed: With the place, and how to set both.
    """
    main = _main(explainer)
    for place, second in _places(explainer):
        if _TREES in place:  # which shap has made of the model
            if main is given[_MAIN] or second is not given.get(place):
                continue
        elif _same(main, second):
            continue
        # A place that was set in the request was set on purpose, unless both were, to two models.
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
    """Tell why KernelShap failed, if its predictor gives another number of outputs than it was made with.

    Args:
        explainer: One of alibi's.
        error: What it raised, which names shapes only.

    Raises:
        PipelineFailed: With both numbers, and the setting that a child may lack.
    """
    made = getattr(stored(explainer).get("_explainer"), "D", None)  # shap's name for the number
    shapes = _RESHAPED.search(str(error))
    if shapes is None or made is None or int(shapes[3]) != made:
        return
    name, given = type(explainer).__name__, int(shapes[1]) / int(shapes[2])
    raise PipelineFailed(
        f"{name} was made with a predictor of {made} outputs for each row, and the one it calls gives "
        f"{given:g}; if that is a child, correct its setting `output`: `predict_proba` asks for the "
        "probabilities, and `predict` for the labels"
    ) from error


def _places(explainer: Any) -> Iterator[tuple[str, Any]]:
    held = stored(explainer)
    if "_predictor" in held or "predictor" in held:
        for number, sampler in enumerate(held.get("samplers") or ()):
            if hasattr(sampler, "predictor"):
                yield f"samplers[{number}].predictor", sampler.predictor
        shaps = getattr(held.get("_explainer"), "model", None)
        for name in ("f", _TREES):  # of KernelShap's, and of TreeShap's
            if is_of(shaps, ("shap",)) and name in stored(shaps):
                yield f"_explainer.model.{name}", getattr(shaps, name)
        if "pd_explainer" in held:
            yield "pd_explainer.predictor", held["pd_explainer"].predictor
        if isinstance(held.get("params"), dict) and "predictor" in held["params"]:
            yield 'params["predictor"]', held["params"]["predictor"]


def _main(explainer: Any) -> Any:
    # AnchorTabular's property gives the predictor of encoded columns; this is what its samplers ask.
    held = stored(explainer)
    return held["_predictor"] if "_predictor" in held else held.get("predictor")


def _plain(predictor: Any) -> bool:
    """Tell whether it is a model or a model's method, rather than an arbitrary function."""
    found = _underneath(predictor)
    return not isinstance(found, (FunctionType, partial))


def _underneath(predictor: Any) -> Any:
    """Return the model inside the wrappers that alibi or this package put around it."""
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
    """Return what a function consists of, without its name and place."""
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
    found = _underneath(predictor)
    name: Callable[..., Any] | str = getattr(found, "__qualname__", "")
    return f"`{name}`" if name else f"{found!r:.80}"
