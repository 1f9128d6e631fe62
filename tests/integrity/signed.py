"""A signed pipeline that calls a signed pipeline and a scikit-learn model, and files that attack it."""

from __future__ import annotations

import pickle
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline, predictmethod, save

ANSWER = 46.0
"""The pipeline's answer to the row 1, 2."""


@dataclass(frozen=True)
class Signed:
    """The folders of the three models, and the keys.

    Attributes:
        shop: The pipeline.
        prices: The pipeline that it calls.
        tax: The scikit-learn model that it calls.
        private: File of the private key that both pipelines are signed with.
        public: File of the public key.
        marker: A file that only hostile code writes.
    """

    shop: Path
    prices: Path
    tax: Path
    private: str
    public: str
    marker: Path

    @property
    def attacked(self) -> bool:
        """Whether hostile code has run."""
        return self.marker.exists()


class Hostile:
    """Writes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> Any:
        return open, (self._marker, "w")


def hostile_pickle(marker: Path) -> bytes:
    """Return a pickle that writes the marker."""
    return pickle.dumps(Hostile(marker))


def hostile_module(marker: Path) -> str:
    """Return a module that writes the marker when it is imported."""
    return f"open({str(marker)!r}, 'w').close()\n"


def make_keys(folder: Path) -> tuple[str, str]:
    """Make an Ed25519 key; return the files of its private and its public part."""
    private, public = str(folder / "key.pem"), str(folder / "key.pub")
    make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", private]
    subprocess.run(make, check=True, capture_output=True)
    write = ["openssl", "pkey", "-in", private, "-pubout", "-out", public]
    subprocess.run(write, check=True, capture_output=True)
    return private, public


def make_signed(folder: Path) -> Signed:
    """Save and sign the three models in a folder."""
    private, public = make_keys(folder)
    shop, prices, tax = (folder / name for name in ("shop", "prices", "tax"))
    for each in (shop, prices, tax):
        each.mkdir()
    rows = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
    joblib.dump(LinearRegression().fit(rows, rows.sum(axis=1)), tax / "model.joblib")
    (prices / "factor.txt").write_text("2.0")
    (shop / "bonus.txt").write_text("40.0")

    @pipeline("prices", local_folder=str(prices))
    class Prices:
        def __init__(self) -> None:
            self.factor = float(Path(_folder(self), "factor.txt").read_text())

        @predictmethod
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return rows.sum(axis=1) * self.factor - rows.sum(axis=1)

    calls = PipelineModels(
        prices=Prices,
        tax=Model("tax", platform=ModelFramework.SKLearn, local_folder=str(tax)),
    )

    @pipeline("shop", local_folder=str(shop), models=calls)
    class Shop:
        def __init__(self) -> None:
            self.bonus = float(Path(_folder(self), "bonus.txt").read_text())

        @predictmethod
        def predict(self, rows: np.ndarray) -> float:
            models: Any = self.models  # type: ignore[attr-defined]
            return float(models.prices(rows)[0] + models.tax(rows)[0] + self.bonus)

    save(Prices, sign=private)
    save(Shop, sign=private)
    return Signed(shop, prices, tax, private, public, folder / "attacked")


def _folder(instance: Any) -> str:
    return str(instance.get_tempo().details.local_folder)
