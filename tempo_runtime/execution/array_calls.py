"""Call the models of MLServer's own runtimes with arrays, without MLServer's requests and codecs.

A request and a model in this process both hold arrays, so nothing has to be encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tempo_runtime.execution.frameworks import SERVED_SKLEARN
from tempo_runtime.protocol.messages import Request, Response
from tempo_runtime.protocol.tensor import DATATYPES, Tensor, datatype_of

if TYPE_CHECKING:
    from mlserver import MLModel

    from tempo_runtime.execution.sklearn_fast import FastModel

# Methods of a model, which are the names of the outputs that ask for them.
_METHODS = {
    "mlserver_sklearn.SKLearnModel": ("predict", "predict_proba", "transform"),
    SERVED_SKLEARN: ("predict", "predict_proba", "transform"),
    "mlserver_xgboost.XGBoostModel": ("predict", "predict_proba"),
    "mlserver_lightgbm.LightGBMModel": ("predict",),
}
# Parameters of a tensor that MLServer's codec of arrays reads, or wrote.
_ARRAY = {"content_type": "np"}


class ArrayCalls:
    """Calls the model of one loaded runtime directly, where its answer is the same.

    A method is called directly once the runtime itself has answered with its numbers. Text, DataFrames,
    and anything else that its codecs decide about stay with the runtime.

    Args:
        runtime: The runtime.
        implementation: Its class.
        fast: A fast version of its model, which is asked first.
    """

    def __init__(
        self, runtime: MLModel, implementation: str, fast: FastModel | None = None
    ) -> None:
        from mlserver.context import model_name_var, model_version_var

        settings = runtime.settings
        # As MLServer's `model_context` sets them, but read from the settings only once.
        self._context = (model_name_var, settings.name), (model_version_var, settings.version or "")
        self._runtime = runtime
        self._fast = fast
        self._methods: tuple[str, ...] = _METHODS.get(implementation, ())
        parameters = settings.parameters
        # Settings that describe tensors may choose other codecs.
        if runtime.inputs or runtime.outputs or getattr(parameters, "content_type", None):
            self._methods = ()
        extra = getattr(parameters, "extra", None) or {}
        self._default = extra.get("predict_fn", "predict")
        self._numeric: set[str] = set()

    def takes(self, request: Request) -> bool:
        """Return whether `answer` can be asked for the answer to a request."""
        return self._numeric.issuperset(self._names(request)) and _is_array(request)

    def answer(self, request: Request) -> Response | None:
        """Return the runtime's answer, or raise as its model does.

        Args:
            request: A request that `takes` accepted.

        Returns:
            The answer; None if this time it is not numbers, so that the runtime must answer.
        """
        [tensor] = request.tensors
        # A copy, which the model may change.
        rows = np.array(tensor.data, DATATYPES[tensor.datatype], order="C")
        outputs = []
        tokens = [variable.set(value) for variable, value in self._context]
        try:
            for name in self._names(request):
                answer = None if self._fast is None else self._fast.answer(name, rows)
                if answer is None:
                    answer = getattr(self._runtime._model, name)(rows)
                if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "biuf":
                    return None
                shape = list(answer.shape) if answer.ndim > 1 else [*answer.shape, 1]
                data = answer.copy()  # the model may have kept it
                outputs.append(Tensor(name, datatype_of(data.dtype), shape, data, {**_ARRAY}))
        finally:
            for (variable, _), token in zip(self._context, tokens):
                variable.reset(token)
        return Response(outputs)

    def learn(self, request: Request, response: Response) -> None:
        """Note which methods the runtime itself has answered with numbers."""
        names = self._names(request)
        if [tensor.name for tensor in response.tensors] != names or response.parameters:
            return
        for tensor in response.tensors:
            is_array = tensor.datatype in DATATYPES and tensor.parameters == _ARRAY
            if is_array and tensor.name in self._methods:
                self._numeric.add(tensor.name)

    def _names(self, request: Request) -> list[str]:
        return request.outputs or [self._default]


def _is_array(request: Request) -> bool:
    """Return whether a request is one array of numbers, which MLServer's codec would leave as it is."""
    if len(request.tensors) != 1 or request.parameters:
        return False
    [tensor] = request.tensors
    return (
        type(tensor.data) is np.ndarray
        and tensor.datatype in DATATYPES
        and tensor.content_type in (None, "np")
        and list(tensor.data.shape) == tensor.shape
    )
