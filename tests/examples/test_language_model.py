"""The example language_model; tests/interop/test_triton.py tests its server."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tempo_runtime.request.portal import background
from tempo_runtime.testing import record_calls
from tests.helpers import examples

NAME = "language_model"
URL = "TEMPO_RUNTIME_MODELS__MODEL__URL"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> examples.Example:
    return examples.run(NAME, tmp_path_factory.mktemp("example"))


class Parts(NamedTuple):
    """A pipeline in this process, and its model's server."""

    writer: Any
    model: Any


@pytest.fixture(params=["http", "grpc"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.syspath_prepend(str(examples.EXAMPLES / NAME))
    server, stand_in, writer = map(importlib.import_module, ("server", "stand_in", "writer"))
    model = server.language_model()
    with stand_in.Triton(model) as triton:
        url = triton.url if request.param == "http" else triton.grpc_url
        monkeypatch.setenv(URL, url)
        importlib.reload(writer)  # a pipeline of this process keeps its connections
        made = writer.writer()
        yield Parts(made, model)
        background().run(made.models.model.close())


def test_a_deployed_pipeline_streams_the_words_of_its_readme(example: examples.Example) -> None:
    assert [example.printed] == examples.blocks(NAME, "text")


def test_its_readme_shows_its_graph(example: examples.Example) -> None:
    command = "tempo-runtime graph artifacts/writer --format mermaid"
    graph = examples.shell(command, example.folder, **{URL: "http://localhost:8000"})
    assert [graph] == examples.blocks(NAME, "mermaid")


def test_the_model_is_asked_once_for_each_word_with_the_words_so_far(parts: Parts) -> None:
    with record_calls(parts.writer) as calls:
        words = list(parts.writer.write("the owl", 3))
    asked = [request["INPUT_IDS"].tolist() for request in parts.model.requests]
    ids = [parts.writer.ids[word] for word in ("the", "owl", *words)]
    assert asked == [[ids[:2]], [ids[:3]], [ids[:4]]]
    assert len(calls) == 3


def test_the_same_seed_gives_the_same_words(parts: Parts) -> None:
    texts = [list(parts.writer.write("the owl", 8, seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_each_word_comes_before_the_next_is_asked_for(parts: Parts) -> None:
    words = iter(parts.writer.write("the owl", 5))
    next(words)
    assert len(parts.model.requests) == 1
