"""Graphs of pipelines and their children are read and drawn."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempo_runtime import (
    ArtifactMissing,
    Batching,
    Model,
    ModelFramework,
    PipelineModels,
    pipeline,
    save,
)
from tempo_runtime.cli.graph.mermaid import mermaid
from tempo_runtime.execution.graph.nodes import Edge, Node
from tempo_runtime.execution.graph.reading import of_folder, of_pipeline
from tempo_runtime.execution.graph.svg import svg
from tempo_runtime.servers import model_set
from tests.helpers import pipelines

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=20)
NODES = st.recursive(
    st.builds(Node, TEXTS, st.sampled_from(("tempo", "sklearn")), fault=st.none() | TEXTS),
    lambda nodes: st.builds(
        Node,
        TEXTS,
        st.just("tempo"),
        edges=st.lists(
            st.builds(Edge, TEXTS, st.just("http"), st.lists(TEXTS).map(tuple), nodes), max_size=3
        ).map(tuple),
    ),
    max_leaves=5,
)


def chain(folder: Path, name: str, **children: Model) -> Model:
    """Saves a pipeline that calls these, and gives it as another refers to it."""

    @pipeline(name, local_folder=str(folder / name), models=PipelineModels(**children))
    def call(x: np.ndarray) -> np.ndarray:
        return x

    save(call)
    return Model(name, platform=ModelFramework.TempoPipeline, local_folder=str(folder / name))


def forest(folder: Path) -> Model:
    (folder / "forest").mkdir(exist_ok=True)
    return Model("forest", platform=ModelFramework.SKLearn, local_folder=str(folder / "forest"))


def extra(folder: Path, **settings: Any) -> None:
    path = folder / "model-settings.json"
    content = json.loads(path.read_text())
    content["parameters"]["extra"] = settings
    path.write_text(json.dumps(content))


def lines(node: Node, depth: int = 0) -> list[str]:
    """A node and all below it, in short."""
    found = []
    for edge in node.edges:
        fault = f" ({edge.node.fault})" if edge.node.fault else ""
        found.append(f"{'  ' * depth}{edge.alias}: {edge.node.name}, {edge.way}{fault}")
        found += lines(edge.node, depth + 1)
    return found


def test_children_of_children_are_read(tmp_path: Path) -> None:
    chain(tmp_path, "top", inner=chain(tmp_path, "inner", forest=forest(tmp_path)))
    found = of_folder(str(tmp_path / "top"), {})
    assert lines(found) == ["inner: inner, same server", "  forest: forest, same server"]
    assert found.edges[0].node.edges[0].node.folder == str(tmp_path / "forest")


def test_nothing_of_an_artifact_is_run(tmp_path: Path) -> None:
    chain(tmp_path, "top", inner=chain(tmp_path, "inner"))
    for pickle in tmp_path.glob("*/pipeline.dill"):
        pickle.write_bytes(b"no pickle")
    assert lines(of_folder(str(tmp_path / "top"), {})) == ["inner: inner, same server"]


def test_settings_say_how_each_is_reached_and_the_environment_wins(tmp_path: Path) -> None:
    model = forest(tmp_path)
    chain(tmp_path, "top", one=model, two=model, three=model)
    urls = {"one": {"url": "http://a:1,http://b:1"}, "two": {"transport": "grpc"}}
    extra(tmp_path / "top", models={**urls, "three": {"url": "http://a:1"}})
    found = of_folder(str(tmp_path / "top"), {"TEMPO_RUNTIME_MODELS__THREE__URL": "grpc://c:2"})
    assert lines(found) == [
        "one: forest, http://a:1, http://b:1",
        "two: forest, same server",
        "three: forest, grpc://c:2",
    ]


def test_the_environment_here_is_not_that_of_another_server(tmp_path: Path) -> None:
    chain(tmp_path, "top", inner=chain(tmp_path, "inner", forest=forest(tmp_path)))
    found = of_folder(str(tmp_path / "top"), {"TEMPO_RUNTIME_BASE_URL": "http://a:1"})
    assert lines(found) == ["inner: inner, http://a:1", "  forest: forest, same server"]


def test_a_child_that_is_not_here_is_shown(tmp_path: Path) -> None:
    gone = Model("gone", platform=ModelFramework.SKLearn, local_folder=str(tmp_path / "gone"))
    chain(tmp_path, "top", gone=gone, lost=Model("lost"))
    assert lines(of_folder(str(tmp_path / "top"), {})) == [
        f"gone: gone, same server (its folder {tmp_path / 'gone'} does not exist)",
        "lost: lost, same server (it has no folder)",
    ]


def test_a_child_that_only_triton_serves_is_shown(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    net = Model("net", platform=ModelFramework.ONNX, local_folder=str(tmp_path / "net"))
    chain(tmp_path, "top", net=net)
    fault = "Triton serves it, and MLServer does not; set its `url`"
    assert lines(of_folder(str(tmp_path / "top"), {})) == [f"net: net, same server ({fault})"]
    placed = {"TEMPO_RUNTIME_MODELS__NET__URL": "http://a:8000"}
    assert lines(of_folder(str(tmp_path / "top"), placed)) == ["net: net, http://a:8000"]


def test_a_child_elsewhere_need_not_be_here(tmp_path: Path) -> None:
    chain(tmp_path, "top", gone=Model("gone", platform=ModelFramework.SKLearn))
    found = of_folder(str(tmp_path / "top"), {"TEMPO_RUNTIME_BASE_URL": "http://a:1"})
    assert lines(found) == ["gone: gone, http://a:1"]


def test_a_damaged_child_is_shown(tmp_path: Path) -> None:
    chain(tmp_path, "top", inner=chain(tmp_path, "inner"))
    (tmp_path / "inner" / "tempo.json").write_text("{")
    [line] = lines(of_folder(str(tmp_path / "top"), {}))
    assert "is damaged" in line


def test_pipelines_that_call_each_other_are_shown(tmp_path: Path) -> None:
    top = Model("top", platform=ModelFramework.TempoPipeline, local_folder=str(tmp_path / "top"))
    chain(tmp_path, "top", inner=chain(tmp_path, "inner", back=top))
    assert lines(of_folder(str(tmp_path / "top"), {})) == [
        "inner: inner, same server",
        "  back: top, same server (they call each other: top -> inner -> top)",
    ]


def test_a_pipeline_need_not_be_saved() -> None:
    assert lines(of_pipeline(pipelines.grandparent, {})) == [
        "parent: sync-parent, same server",
        "  double: double, same server",
        "aparent: async-parent, same server",
        "  double: double, same server",
        "  other: double, same server",
    ]


@pytest.mark.parametrize("in_process", [False, True])
@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ({}, {}),
        ({"top": {"transport": "in_process"}}, {}),
        ({"top": {"models": {"middle": {"transport": "in_process"}}}}, {}),
        ({"top": {"models": {"forest": {"fast_sklearn": True}}}}, {}),
        ({"middle": {"models": {"forest": {"transport": "in_process"}}}}, {}),
        ({"middle": {"models": {"forest": {"url": "http://a:1"}}}}, {}),
        ({"inner": {"transport": "grpc"}}, {}),
        ({}, {"TEMPO_RUNTIME_MODELS__FOREST__URL": "grpc://a:1"}),
        ({}, {"TEMPO_RUNTIME_MODELS__MIDDLE__TRANSPORT": "in_process"}),
        ({}, {"TEMPO_RUNTIME_TRANSPORT": "in_process"}),
        ({}, {"TEMPO_RUNTIME_TRANSPORT": "http"}),
    ],
)
def test_a_graph_says_of_each_model_what_serve_does_with_it(
    settings: dict[str, Any], environ: dict[str, str], in_process: bool, tmp_path: Path
) -> None:
    model = forest(tmp_path)
    (tmp_path / "forest" / "model.joblib").touch()
    inner = chain(tmp_path, "inner", forest=model)
    top = chain(
        tmp_path, "top", middle=chain(tmp_path, "middle", inner=inner, forest=model), forest=model
    )
    for name, content in settings.items():
        extra(tmp_path / name, **content)
    folder = str(tmp_path / "top")
    served = model_set.gather([folder], in_process=in_process, environ=environ)

    def compare(node: Node) -> None:
        """Compare the calls of a model of the server, and of its children that are models of it."""
        drawn = {edge.alias: f"{edge.node.name}, {edge.way}" for edge in node.edges}
        assert drawn == served[node.name].calls
        for edge in node.edges:
            if edge.way == "same server" and edge.node.kind == "pipeline":
                compare(edge.node)

    found = of_folder(folder, environ, in_process=in_process)
    assert found.name == top.details.name
    compare(found)
    # Whatever is on the server, and nothing else, is drawn as a model of it.
    assert models_of_server(found) == set(served)


def models_of_server(node: Node) -> set[str]:
    found = {node.name}
    for edge in node.edges:
        below = set() if edge.urls else models_of_server(edge.node)
        found |= below - ({edge.node.name} if edge.way == "in process" else set())
    return found


def test_a_graph_of_a_pipeline_has_the_settings_of_its_folder(tmp_path: Path) -> None:
    model = forest(tmp_path)

    @pipeline("over", models=PipelineModels(forest=model), local_folder=str(tmp_path / "over"))
    def over(x: np.ndarray) -> np.ndarray:
        return x

    save(over)
    extra(tmp_path / "over", models={"forest": {"url": "http://a:1"}})
    assert lines(of_pipeline(over, {})) == ["forest: forest, http://a:1"]
    assert of_pipeline(over, {}) == of_folder(str(tmp_path / "over"), {})


def test_a_graph_shows_the_output_that_a_pipeline_asks_for(tmp_path: Path) -> None:
    model = Model("forest", platform=ModelFramework.SKLearn, output="predict_proba")
    chain(tmp_path, "top", forest=model)
    folder, variable = str(tmp_path / "top"), "TEMPO_RUNTIME_MODELS__FOREST__OUTPUT"
    (edge,) = of_folder(folder, {}).edges
    assert (edge.way, edge.output) == ("same server, output predict_proba", "predict_proba")
    assert of_folder(folder, {variable: "transform"}).edges[0].output == "transform"
    assert of_folder(folder, {variable: ""}).edges[0].output is None


def test_a_folder_without_an_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing):
        of_folder(str(tmp_path))


@given(NODES)
def test_an_svg_is_well_formed_and_shows_every_name(node: Node) -> None:
    root = ElementTree.fromstring(svg(node))
    shown = {text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert every(node) <= shown


@given(NODES)
def test_no_box_of_an_svg_covers_another(node: Node) -> None:
    root = ElementTree.fromstring(svg(node))
    boxes = [
        tuple(float(each.get(side, "0")) for side in ("x", "y", "width", "height"))
        for each in root.iter("{http://www.w3.org/2000/svg}rect")
        if each.get("class") != "page"
    ]
    for number, (x, y, width, height) in enumerate(boxes):
        for left, top, *_ in boxes[number + 1 :]:
            assert left >= x + width or left < x or abs(top - y) >= height


@given(NODES)
def test_mermaid_s_labels_hold_nothing_that_ends_or_changes_them(node: Node) -> None:
    for line in mermaid(node).splitlines()[1:-1]:
        assert line.count('"') == 2
        label = line.split('"')[1].replace("<b>", "").replace("</b>", "").replace("<br>", "")
        assert not set('<>"#') & set(label)


def every(node: Node) -> set[str]:
    return {node.name}.union(*(every(edge.node) for edge in node.edges))


def test_a_graph_shows_batching_as_the_settings_have_it(tmp_path: Path) -> None:
    batched = Model("forest", platform=ModelFramework.SKLearn, batching=Batching(max_rows=32))

    @pipeline("over", models=PipelineModels(child=batched), local_folder=str(tmp_path / "over"))
    def over(x: np.ndarray) -> np.ndarray:
        return x

    folder = save(over)
    for environ, rows in (({}, 32), ({"MAX_ROWS": "8"}, 8)):
        prefix = "TEMPO_RUNTIME_MODELS__CHILD__BATCHING__"
        variables = {f"{prefix}{name}": value for name, value in environ.items()}
        for node in (of_folder(folder, variables), of_pipeline(over, variables)):
            assert node.edges[0].way == f"same server, batches of up to {rows} rows"
    off = {"TEMPO_RUNTIME_MODELS__CHILD__BATCHING": "false"}
    assert of_folder(folder, off).edges[0].way == "same server"
