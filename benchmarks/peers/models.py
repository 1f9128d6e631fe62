"""The two models, as every peer loads them: `MODELS` has the paths of both."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import joblib
from numpy.typing import NDArray
from xgboost import XGBRegressor

Rows = NDArray[Any]
Predict = Callable[[Rows], Rows]


def load_sklearn() -> Predict:
    return joblib.load(os.environ["MODELS"].split()[0]).predict


def load_xgboost() -> Predict:
    model = XGBRegressor()
    model.load_model(os.environ["MODELS"].split()[1])
    return model.predict
