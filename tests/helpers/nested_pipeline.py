"""A pipeline over a plain model and another pipeline, each with a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tempo_runtime import save

SHOP = """
import os
from typing import Literal
import numpy as np
from tempo_runtime import Model, ModelFramework, PipelineModels, model, pipeline

HERE = os.path.dirname(__file__)
prices = Model("prices", platform=ModelFramework.SKLearn, local_folder=os.path.join(HERE, "prices"))

@model("tax", local_folder=os.path.join(HERE, "tax"))
def tax(value: float) -> float:
    return value * 1.5

@pipeline(
    "shop", models=PipelineModels(prices=prices, tax=tax), local_folder=os.path.join(HERE, "shop")
)
def shop(
    rows: np.ndarray[tuple[int, Literal[2]], np.dtype[np.float64]], discount: float = 0.0
) -> float:
    return shop.models.tax(float(shop.models.prices(rows).sum()) - discount)
"""


def saved_shop(folder: Path) -> Path:
    """The pipeline's artifact in a folder, beside those of its children."""
    (folder / "a_shop.py").write_text(SHOP)
    (folder / "prices").mkdir()
    model = LinearRegression(fit_intercept=False).fit(np.eye(2), [2.0, 4.0])
    joblib.dump(model, folder / "prices/model.joblib")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "dont_write_bytecode", True)
        import a_shop  # type: ignore[import-not-found]

        save(a_shop.tax)
        save(a_shop.shop)
        del sys.modules["a_shop"]
    return folder / "shop"
