"""Build requests for models that take one array, although nothing declares their inputs.

MLServer's runtimes for these frameworks give the model whatever the request's content types say. A list
would arrive as JSON text, and MLflow's runtime would give the model a dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tempo_runtime.authoring.details import SERVED_BY_TRITON, ModelDetails, ModelFramework
from tempo_runtime.errors import PayloadError
from tempo_runtime.protocol.binding import INPUT_PREFIX
from tempo_runtime.protocol.tensor import BYTES, Tensor, shown

_ARRAY = "np"  # MLServer's content type
_FRAMEWORKS = frozenset(
    (
        ModelFramework.SKLearn,
        ModelFramework.XGBoost,
        ModelFramework.LightGBM,
        ModelFramework.MLFlow,
        ModelFramework.AlibiExplain,
        ModelFramework.AlibiDetect,
        *SERVED_BY_TRITON,
    )
)
_REMEDY = "pass lists of numbers of the same length, a numpy array or a DataFrame"


def takes_arrays(details: ModelDetails) -> bool:
    """Return whether lists of numbers are meant as arrays: no signature says what the model takes."""
    declared = details.signature is not None and bool(details.signature.inputs)
    return details.platform in _FRAMEWORKS and not declared


def arrays_of(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, with arrays instead of lists of numbers.

    Raises:
        PayloadError: If a list is not one array of numbers; the message names it as its tensor.
    """
    named = {name: _array_of(value, name) for name, value in kwargs.items()}
    return tuple(_array_of(arg, f"{INPUT_PREFIX}{i}") for i, arg in enumerate(args)), named


def request_parameters(details: ModelDetails, tensors: list[Tensor]) -> dict[str, Any]:
    """Return the parameters of a request without which the model would not receive an array.

    MLflow's runtime gives a model without a signature all inputs as a dict, unless the request as a whole
    is an array. An input that the caller names stays an entry of that dict.
    """
    if details.platform is not ModelFramework.MLFlow or len(tensors) != 1:
        return {}
    [tensor] = tensors
    is_array = tensor.content_type == _ARRAY and tensor.datatype != BYTES
    return {"content_type": _ARRAY} if is_array and tensor.name == f"{INPUT_PREFIX}0" else {}


def _array_of(value: Any, name: str) -> Any:
    """Convert a list of numbers exactly; return other values, and lists of texts, as they are."""
    if type(value) not in (list, tuple) or (
        value and all(type(item) in (str, bytes) for item in value)
    ):
        return value
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise PayloadError(f"{name!r} has rows of different lengths; {_REMEDY}") from None
    elements = np.asarray(value, object).ravel().tolist()
    odd = [
        element
        for element in elements
        if not isinstance(element, int | float | np.number | np.bool_)
    ]
    if odd:
        raise PayloadError(
            f"{name!r} holds {shown(odd[0])} ({type(odd[0]).__name__}), which is not a number; {_REMEDY}"
        )
    kinds = {isinstance(element, bool | np.bool_) for element in elements}
    if len(kinds) > 1:
        raise PayloadError(f"{name!r} mixes booleans and numbers; {_REMEDY}")
    for element, number in zip(elements, array.ravel().tolist()):
        # Python compares integers and floats exactly. Only NaN differs from itself.
        if array.dtype.kind not in "biuf" or (element != number and element == element):
            raise PayloadError(
                f"{name!r} holds {shown(element)}, which an array together with its other numbers "
                "cannot hold exactly; pass a numpy array of the type that you want"
            )
    return array
