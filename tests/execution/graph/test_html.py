"""A notebook shows a pipeline with its graph."""

from __future__ import annotations

import base64
import re
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from tempo_runtime import Model, ModelFramework, PipelineModels, describe, pipeline, predictmethod

forest = Model("forest", platform=ModelFramework.SKLearn, local_folder="/nowhere/forest")


@pipeline("inner", models=PipelineModels(forest=forest))
def inner(rows: np.ndarray) -> list[str]:
    return []


@pipeline("outer", models=PipelineModels(below=inner), description="<b>Bold</b> & more.")
class Outer:
    @predictmethod
    def predict(
        self,
        rows: np.ndarray[tuple[int, Literal[2]], np.dtype[np.float32]],
        top: int | None = None,
    ) -> tuple[np.ndarray, str]:
        return rows, ""


def drawn(html: str) -> str:
    """Return the SVG in a picture."""
    [data] = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    return base64.b64decode(data).decode()


@pytest.mark.parametrize("target", [Outer, Outer()])
def test_a_class_and_an_instance_are_shown_with_their_graph(target: object) -> None:
    shown = describe(target)._repr_html_()
    assert '<strong>outer</strong> <span class="note">pipeline</span>' in shown
    assert "outer(rows: ndarray of float32, top: int | None = ...) -&gt; (ndarray, str)" in shown
    assert (
        'alt="outer calls inner (pipeline, in process); inner calls forest (sklearn, in process)"'
        in (shown)
    )
    names = ["".join(text.itertext()) for text in ElementTree.fromstring(drawn(shown)).iter()]
    assert {"outer", "inner", "forest"} <= set(names)


def test_words_of_an_author_are_escaped_and_nothing_runs() -> None:
    shown = describe(Outer)._repr_html_()
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; more." in shown
    assert "<script" not in shown + drawn(shown)


def test_the_decorated_function_and_a_model_are_shown_themselves() -> None:
    assert "<strong>inner</strong>" in inner._repr_html_()
    assert 'alt="forest, sklearn"' in forest._repr_html_()


def test_the_graph_follows_the_environment_and_its_faults_are_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPO_RUNTIME_MODELS__FOREST__URL", "http://forest:8080")
    assert "forest (sklearn, http://forest:8080)" in inner._repr_html_()
    monkeypatch.setenv("TEMPO_RUNTIME_TIMEOUT", "soon")
    shown = inner._repr_html_()
    assert "<img" not in shown
    assert "timeout" in shown.lower()


def test_the_author_s_class_stays_as_it_is() -> None:
    assert not hasattr(Outer, "_repr_html_")
