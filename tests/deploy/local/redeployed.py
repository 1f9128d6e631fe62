"""Pipelines that a test deploys, changes, and deploys again."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineModels,
    loadmethod,
    model,
    pipeline,
    predictmethod,
    save,
)

ASKED = "a pipeline that takes its time was asked"


class Studio:
    """A folder with a scikit-learn model and pipelines.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "line").mkdir()
        self.train(2.0)
        self.line = Model(
            "line", platform=ModelFramework.SKLearn, local_folder=str(folder / "line")
        )

    def train(self, slope: float) -> None:
        """Trains the model: its answer is its input times the slope."""
        line = LinearRegression(fit_intercept=False).fit([[1.0]], [slope])
        joblib.dump(line, self.folder / "line/model.joblib")

    def plus(self, more: float) -> Any:
        """A saved pipeline: what the model answers, and so much more."""

        @pipeline(
            "plus",
            models=PipelineModels(line=self.line),
            local_folder=str(self.folder / "plus"),
        )
        class Plus:
            def __init__(self, more: float) -> None:
                self.more = more

            @predictmethod
            def predict(self, x: np.ndarray) -> np.ndarray:
                return self.models.line(x) + self.more  # type: ignore[attr-defined, no-any-return]

        found = Plus(more)
        save(found)
        return found

    def stuck(self) -> Any:
        """A saved pipeline that never has loaded."""

        @model("stuck", local_folder=str(self.folder / "stuck"))
        class Stuck:
            @loadmethod
            def load(self) -> None:
                time.sleep(600)

            @predictmethod
            def predict(self) -> str:
                return "never"

        found = Stuck()
        save(found)
        return found

    def dying(self, child: Any = None) -> Any:
        """A saved pipeline whose server is killed while it loads, with a child that is not."""
        models = PipelineModels(child=child) if child is not None else PipelineModels()

        @pipeline("dying", models=models, local_folder=str(self.folder / "dying"))
        class Dying:
            @loadmethod
            def load(self) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            @predictmethod
            def predict(self) -> str:
                return "never"

        found = Dying()
        save(found)
        return found

    def alone(self, answer: str = "first", fails: bool = False) -> Any:
        """A saved pipeline that calls nothing; one that fails does so where it is served."""

        @model("alone", local_folder=str(self.folder / "alone"))
        class Alone:
            def __init__(self, answer: str, home: int) -> None:
                self.answer = answer
                self.home = home

            @loadmethod
            def load(self) -> None:
                if os.getpid() != self.home != 0:
                    raise ValueError("the moon is in the wrong place")

            @predictmethod
            def predict(self, seconds: float = 0.0) -> str:
                print(ASKED, flush=True)
                time.sleep(seconds)
                return self.answer

        found = Alone(answer, os.getpid() if fails else 0)
        save(found)
        return found

    def late(self, calls: bool = True) -> Any:
        """A saved pipeline that takes its time and then calls the model, or only says so."""
        models = PipelineModels(line=self.line) if calls else PipelineModels()

        @pipeline("late", models=models, local_folder=str(self.folder / "late"))
        class Late:
            def __init__(self, calls: bool) -> None:
                self.calls = calls

            @predictmethod
            def predict(self, seconds: float = 0.0) -> str:
                print(ASKED, flush=True)
                time.sleep(seconds)
                if not self.calls:
                    return "not called"
                return f"called: {self.models.line(np.ones((1, 1)))[0]:g}"  # type: ignore[attr-defined]

        found = Late(calls)
        save(found)
        return found

    def grabbing(self) -> Any:
        """A saved pipeline that says which ports of its own server it could have had while it loaded."""

        @model("grabbing", local_folder=str(self.folder / "grabbing"))
        class Grabbing:
            @loadmethod
            def load(self) -> None:
                self.had = ", ".join(map(grab, ("HTTP", "GRPC", "METRICS")))

            @predictmethod
            def predict(self) -> str:
                return self.had

        def grab(name: str) -> str:
            with socket.socket() as other:
                try:
                    other.bind(("127.0.0.1", int(os.environ[f"MLSERVER_{name}_PORT"])))
                except OSError as error:
                    return f"{name}: {error.strerror}"
                return f"{name}: free"

        found = Grabbing()
        save(found)
        return found

    def saying(self, answer: str) -> tuple[Any, Any]:
        """A pipeline that gives an answer, and one that calls it; neither is saved."""

        @model("word", local_folder=str(self.folder / "word"))
        def word() -> str:
            return answer

        @pipeline("says", models=PipelineModels(word=word), local_folder=str(self.folder / "says"))
        def says() -> str:
            return f"says {says.models.word()}"

        return word, says

    def counting(self) -> Any:
        """A saved pipeline that yields."""

        @model("counting", local_folder=str(self.folder / "counting"))
        def counting(to: int) -> Iterator[int]:
            yield from range(1, to + 1)

        save(counting)
        return counting
