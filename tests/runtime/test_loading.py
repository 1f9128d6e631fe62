"""Models that a server loads at the same time do not import at the same time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from tempo_runtime import loadmethod, pipeline, predictmethod, save
from tempo_runtime.testing import serve

# It gives a pipeline that loads beside it the time to begin.
FOREIGN = """
import os
import time
from pathlib import Path

from mlserver import MLModel

events = Path(os.environ["EVENTS"])
end = time.monotonic() + 0.5
while "pipeline" not in events.read_text() and time.monotonic() < end:
    time.sleep(0.01)
with events.open("a") as file:
    file.write("model ")


class Foreign(MLModel):
    pass
"""


@pipeline("loading")
class Loading:
    @loadmethod
    def load(self) -> None:
        with Path(os.environ["EVENTS"]).open("a") as file:
            file.write("pipeline ")

    @predictmethod
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x


def test_a_pipeline_is_loaded_after_the_models_that_load_without_awaiting(tmp_path: Path) -> None:
    models, events = tmp_path / "models", tmp_path / "events"
    save(Loading, str(models / "loading"))
    for name in (
        "before",
        "zero",
    ):  # one of them is behind it, in whatever order the folder is read
        folder = models / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(FOREIGN)
        settings = {"name": name, "implementation": f"{name}.Foreign"}
        (folder / "model-settings.json").write_text(json.dumps(settings))
    events.write_text("")
    with serve(models, env={"EVENTS": str(events)}):
        *before, last = events.read_text().split()  # MLServer imports each module twice
    assert (set(before), last) == ({"model"}, "pipeline")
