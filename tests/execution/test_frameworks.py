"""Every framework that MLServer serves: the same in this process, over HTTP, and called directly."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from tempo_runtime import Model, ModelFramework, PipelineModels, deploy_local, pipeline, save
from tempo_runtime.clients.child import Child
from tempo_runtime.errors import ChildFailed, ChildUnavailable, SettingsError
from tempo_runtime.execution import frameworks
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import Server, serve
from tests.helpers.income import ROOT

# Warnings of these libraries about themselves and each other are not ours to correct.
pytestmark = pytest.mark.filterwarnings("ignore")
X, Y = load_iris(return_X_y=True)
ROWS = X[::25]
COLUMNS = ["a", "b", "c", "d"]


class Case(NamedTuple):
    """A trained model.

    Attributes:
        platform: Its framework.
        arguments: What it is called with, by name; `input-0` where its runtime takes any name.
        direct: What its own library answers.
        extra: `parameters.extra` of its settings.
    """

    platform: ModelFramework
    arguments: dict[str, Any]
    direct: Any
    extra: dict[str, Any] | None = None


def _xgboost(folder: Path) -> Case:
    from xgboost import XGBRegressor

    model = XGBRegressor(n_estimators=3).fit(X, Y)
    model.save_model(folder / "model.json")
    return Case(ModelFramework.XGBoost, {"x": ROWS}, model.predict(ROWS))


def _xgboost_classes(folder: Path) -> Case:
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=3).fit(X, Y)
    model.save_model(folder / "model.json")
    return Case(ModelFramework.XGBoost, {"x": ROWS}, model.predict(ROWS))


def _lightgbm(folder: Path) -> Case:
    import lightgbm

    options = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    model = lightgbm.train(options, lightgbm.Dataset(X, Y), num_boost_round=3)
    model.save_model(folder / "model.bst")
    return Case(ModelFramework.LightGBM, {"x": ROWS}, model.predict(ROWS))


def _mlflow(folder: Path) -> Case:
    import mlflow

    model = LinearRegression().fit(X, Y)
    signature = mlflow.models.infer_signature(X, model.predict(X))
    folder.rmdir()
    mlflow.sklearn.save_model(model, str(folder), signature=signature, pip_requirements=[])
    return Case(ModelFramework.MLFlow, {"x": ROWS}, model.predict(ROWS))


def _mlflow_without_signature(folder: Path) -> Case:
    import mlflow

    model = LinearRegression().fit(X, Y)
    folder.rmdir()
    mlflow.sklearn.save_model(model, str(folder), pip_requirements=[])
    return Case(ModelFramework.MLFlow, {"input-0": ROWS}, model.predict(ROWS))


def _mlflow_frame(folder: Path) -> Case:
    import mlflow

    frame = pd.DataFrame(X, columns=COLUMNS)
    model = LinearRegression().fit(frame, Y)
    signature = mlflow.models.infer_signature(frame, model.predict(frame))
    folder.rmdir()
    mlflow.sklearn.save_model(model, str(folder), signature=signature, pip_requirements=[])
    rows = pd.DataFrame(ROWS, columns=COLUMNS)
    return Case(ModelFramework.MLFlow, {"x": rows}, model.predict(rows))


def _huggingface(folder: Path) -> Case:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
    from transformers import pipeline as transformers_pipeline

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "tea"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), intermediate_size=8, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    texts = ["good tea", "bad tea"]
    direct = transformers_pipeline("text-classification", str(folder), framework="pt")(texts)
    extra = {"task": "text-classification", "framework": "pt"}
    return Case(ModelFramework.HuggingFace, {"array_inputs": texts}, direct, extra)


def _alibi_explain(folder: Path) -> Case:
    from alibi.explainers import TreePartialDependence

    model = GradientBoostingClassifier(n_estimators=3, random_state=0).fit(X, Y)
    joblib.dump(model, folder / "model.joblib")
    direct = json.loads(TreePartialDependence(model).explain(ROWS).to_json())
    extra: dict[str, Any] = {"explainer_type": "tree_partial_dependence", "init_parameters": {}}
    extra["infer_uri"] = str(folder / "model.joblib")
    return Case(ModelFramework.AlibiExplain, {"x": ROWS}, direct, extra)


def _alibi_detect(folder: Path) -> Case:
    from alibi_detect.cd import KSDrift
    from alibi_detect.saving import save_detector

    detector = KSDrift(X[:100], p_val=0.05)
    save_detector(detector, folder)
    return Case(ModelFramework.AlibiDetect, {"x": X[100:]}, detector.predict(X[100:])["data"])


# Which packages a case needs, what makes it, and the runtime that serves it.
CASES: dict[str, tuple[tuple[str, ...], Callable[[Path], Case], str]] = {
    "xgboost": (("mlserver_xgboost",), _xgboost, "mlserver_xgboost.XGBoostModel"),
    "xgboost-classes": (("mlserver_xgboost",), _xgboost_classes, "mlserver_xgboost.XGBoostModel"),
    "lightgbm": (("mlserver_lightgbm",), _lightgbm, "mlserver_lightgbm.LightGBMModel"),
    "mlflow": (("mlserver_mlflow",), _mlflow, "mlserver_mlflow.MLflowRuntime"),
    "mlflow-without-signature": (
        ("mlserver_mlflow",),
        _mlflow_without_signature,
        "mlserver_mlflow.MLflowRuntime",
    ),
    "mlflow-frame": (("mlserver_mlflow",), _mlflow_frame, "mlserver_mlflow.MLflowRuntime"),
    "huggingface": (
        ("mlserver_huggingface", "torch", "tensorflow"),
        _huggingface,
        "mlserver_huggingface.HuggingFaceRuntime",
    ),
    "alibi-explain": (
        ("mlserver_alibi_explain", "mlserver_xgboost"),
        _alibi_explain,
        "mlserver_alibi_explain.AlibiExplainRuntime",
    ),
    "alibi-detect": (
        ("mlserver_alibi_detect", "alibi_detect"),
        _alibi_detect,
        "mlserver_alibi_detect.AlibiDetectRuntime",
    ),
}


class Built(NamedTuple):
    folder: Path
    case: Case


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Trains a case's model and saves it, once."""
    root = tmp_path_factory.mktemp("frameworks")

    @functools.cache
    def build(name: str) -> Built:
        packages, make, implementation = CASES[name]
        for package in packages:
            if find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        folder = root / name
        folder.mkdir(exist_ok=True)
        try:
            case = make(folder)
        except ImportError as error:  # of what one of the packages needs beside another
            pytest.skip(f"{name}: {error}")
        parameters = {"uri": ".", "extra": case.extra or {}}
        settings = {"name": name, "implementation": implementation, "parameters": parameters}
        (folder / "model-settings.json").write_text(json.dumps(settings))
        return Built(folder, case)

    return build


@pytest.fixture(scope="module")
def server(built: Callable[[str], Built]) -> Iterator[Server]:
    """One server of all that can be built here."""
    folders = []
    for name in CASES:
        try:
            folders.append(built(name).folder)
        except pytest.skip.Exception:
            continue
    if not folders:
        pytest.skip("none of the frameworks is installed")
    with serve(*folders, timeout=120) as running:
        yield running


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[Callable[..., Child]]:
    connectors = []

    def connected(folder: Path, platform: ModelFramework, **settings: Any) -> Child:
        pipeline = PipelineSettings.read(
            {"models": {"child": {"unavailable_timeout": 0, **settings}}}, {}
        )
        connectors.append(ChildResolver(pipeline, background(), inside=["pipeline"]))
        return connectors[-1].child(
            "child", Model(folder.name, platform=platform, local_folder=str(folder))
        )

    yield connected
    for connector in connectors:
        background().run(connector.close())


@pytest.mark.parametrize("name", CASES)
def test_in_this_process_and_over_http_the_answer_is_its_librarys(
    name: str, built: Callable[[str], Built], server: Server, child: Callable[..., Child]
) -> None:
    folder, case = built(name)
    in_process = child(folder, case.platform)
    here = in_process(**case.arguments)
    there = child(folder, case.platform, url=server.url)(**case.arguments)
    _assert_same(here, there)
    _assert_same(in_process(**case.arguments), there)  # the second call may take a shorter way
    _assert_same(_plain(name, here), case.direct, exact=False)


@pytest.mark.parametrize("name", CASES)
def test_a_folder_without_settings_is_served_by_its_frameworks_runtime(
    name: str, built: Callable[[str], Built], child: Callable[..., Child]
) -> None:
    folder, case = built(name)
    if case.extra:
        pytest.skip("its runtime needs settings")
    settings = folder / "model-settings.json"
    hidden = settings.rename(folder / "hidden")
    try:
        answer = child(folder, case.platform)(**case.arguments)
    finally:
        hidden.rename(settings)
    _assert_same(_plain(name, answer), case.direct, exact=False)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "mlflow"])
def test_a_folder_without_its_model_is_reported(
    name: str, built: Callable[[str], Built], child: Callable[..., Child], tmp_path: Path
) -> None:
    platform = built(name).case.platform
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(
        ChildUnavailable, match=rf"child '{name}' cannot be .* from {folder}"
    ) as told:
        child(folder, platform)
    assert "Stack trace" not in str(told.value)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "mlflow", "alibi-detect"])
def test_rows_of_the_wrong_width_are_the_childs_failure(
    name: str, built: Callable[[str], Built], child: Callable[..., Child]
) -> None:
    folder, case = built(name)
    with pytest.raises(ChildFailed, match=f"child '{name}' in this process raised"):
        child(folder, case.platform)(x=ROWS[:, :2])


@pytest.fixture(scope="module")
def rows_of_iris() -> list[list[float]]:
    rows: list[list[float]] = ROWS.tolist()
    return rows


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "mlflow", "mlflow-without-signature"])
def test_a_list_of_numbers_is_an_array(
    name: str,
    built: Callable[[str], Built],
    server: Server,
    child: Callable[..., Child],
    rows_of_iris: list[list[float]],
) -> None:
    folder, case = built(name)
    for place in ({}, {"url": server.url}):
        called = child(folder, case.platform, **place)
        _assert_same(called(rows_of_iris), called(ROWS))


def test_an_mlflow_model_without_a_signature_answers_on_the_same_server_and_deployed(
    built: Callable[[str], Built], tmp_path: Path
) -> None:
    folder, case = built("mlflow-without-signature")
    model = Model(folder.name, platform=ModelFramework.MLFlow, local_folder=str(folder))

    @pipeline("caller", local_folder=str(tmp_path / "caller"), models=PipelineModels(model=model))
    def caller(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = caller.models.model(rows)
        return found

    save(caller)
    with serve(tmp_path / "caller", folder, env={"TEMPO_RUNTIME_TRANSPORT": "http"}) as running:
        _assert_same(running.infer("caller", ROWS), case.direct, exact=False)
    with deploy_local(model) as remote:
        _assert_same(remote.predict(ROWS), case.direct, exact=False)
        _assert_same(remote.predict(ROWS.tolist()), case.direct, exact=False)


def test_an_output_of_xgboost_can_be_chosen(
    built: Callable[[str], Built], child: Callable[..., Child]
) -> None:
    folder, case = built("xgboost-classes")
    found = child(folder, case.platform, output="predict_proba")(**case.arguments)
    assert (found.dtype, found.shape) == (np.float32, (len(ROWS), 3))


@pytest.mark.parametrize("served", [False, True], ids=["in this process", "over HTTP"])
def test_an_alibi_explain_runtime_explains_a_model_on_a_server(
    served: bool,
    built: Callable[[str], Built],
    server: Server,
    child: Callable[..., Child],
    tmp_path: Path,
) -> None:
    pytest.importorskip("mlserver_alibi_explain", reason="mlserver_alibi_explain is not installed")
    from alibi.explainers import AnchorTabular

    explained = built("xgboost-classes").folder.name
    direct = child(built("xgboost-classes").folder, ModelFramework.XGBoost)
    folder = tmp_path / "anchors"
    # The predictor that it is fitted with is saved with it, and replaced when it is loaded.
    AnchorTabular(lambda rows: np.zeros(len(rows), int), COLUMNS, seed=1).fit(X).save(folder)
    extra = {
        "explainer_type": "anchor_tabular",
        "infer_uri": f"{server.url}/v2/models/{explained}/infer",
    }
    settings = {"name": "anchors", "implementation": CASES["alibi-explain"][2]}
    settings |= {"parameters": {"uri": ".", "extra": extra}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    with serve(folder) if served else nullcontext() as there:
        place = {"url": there.url} if there else {}
        answer = child(folder, ModelFramework.AlibiExplain, **place)(ROWS[:1])
    explanation = _plain("alibi-explain", answer)["data"]
    assert explanation["raw"]["prediction"] == direct(ROWS[:1]).tolist()
    assert explanation["raw"]["instance"] == ROWS[0].tolist()
    assert explanation["precision"] > 0.9


TRITONS = ["triton", "tensorflow", "pytorch", "ONNX", "tensorrt"]


@pytest.mark.parametrize("platform", TRITONS)
def test_a_model_that_only_triton_serves_is_refused_with_the_command_that_starts_it(
    platform: str, child: Callable[..., Child], tmp_path: Path
) -> None:
    (tmp_path / "net" / "1").mkdir(parents=True)
    command = f"-v {tmp_path}:/models .* tritonserver --model-repository=/models"
    told = f"serves models of the framework '{platform}'.*{command}.*TEMPO_RUNTIME_MODELS__.*__URL"
    for folder in (tmp_path, tmp_path / "net"):  # a model repository, or a model's folder in one
        net = Model("net", platform=ModelFramework(platform), local_folder=str(folder))
        with pytest.raises(SettingsError, match=told):
            net(ROWS)
        with pytest.raises(SettingsError, match=told):
            deploy_local(net)
    with pytest.raises(SettingsError, match="-v MODEL_REPOSITORY:/models"):
        Model("net", platform=ModelFramework(platform))(ROWS)


def test_a_runtime_in_the_settings_of_its_folder_serves_a_model_of_any_framework(
    built: Callable[[str], Built], child: Callable[..., Child]
) -> None:
    folder, case = built("xgboost")
    _assert_same(child(folder, ModelFramework.ONNX)(**case.arguments), case.direct, exact=False)


def _plain(name: str, answer: Any) -> Any:
    """An answer as the model's own library gives it: some runtimes write theirs as JSON."""
    if name == "huggingface":
        return [json.loads(text) for text in answer]
    if name == "alibi-explain":
        return json.loads(answer if isinstance(answer, str) else answer[0])
    return answer


def _assert_same(one: Any, two: Any, *, exact: bool = True) -> None:
    """Value, type and shape; not exact where a library has types that V2 has not."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            _assert_same(one[key], two[key], exact=exact)
    elif isinstance(one, np.ndarray) and exact:
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        np.testing.assert_array_equal(one, two)
    elif isinstance(one, np.ndarray):
        np.testing.assert_allclose(one.reshape(np.shape(two)), two, rtol=1e-6)
        assert not isinstance(two, np.ndarray) or one.dtype == two.dtype
    else:
        assert one == two


# -- the table of docs/frameworks.md ---------------------------------------------------------------

_TABLE = (ROOT / "docs" / "frameworks.md").read_text().partition("## Names of files")[2]
_ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \|(.*) \|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
# Framework -> the names of files, and the code that writes them.
FILES = {  # the first row is the heading
    framework: (_CODE.findall(names), "".join(_CODE.findall(code)))
    for frameworks_, names, code in _ROW.findall(_TABLE.partition("\n## ")[0])[1:]
    for framework in _CODE.findall(frameworks_)
}
ALTERNATIVES = ("SKLearn", "XGBoost", "LightGBM")  # those with one file, of any of these names


def _detector() -> Any:
    from alibi_detect.cd import KSDrift

    return KSDrift(X[:100], p_val=0.05)


def _transformer(folder: Path) -> Any:
    from transformers import pipeline as transformers_pipeline

    _huggingface(folder)
    return transformers_pipeline("text-classification", str(folder), framework="pt")


def _explainer() -> Any:
    from alibi.explainers import TreePartialDependence

    return TreePartialDependence(GradientBoostingClassifier(n_estimators=3).fit(X, Y))


def test_every_framework_has_its_files_in_the_table() -> None:
    assert set(FILES) | {"Tensorflow"} == set(ModelFramework.__members__)


@pytest.mark.parametrize("framework", ALTERNATIVES)
def test_the_table_names_the_files_that_the_runtime_looks_for_in_its_order(framework: str) -> None:
    implementation = frameworks.IMPLEMENTATIONS[ModelFramework[framework]]
    package = implementation.partition(".")[0]
    module = pytest.importorskip(f"{package}.{package.removeprefix('mlserver_')}")
    names = FILES[framework][0]
    assert names == module.WELLKNOWN_MODEL_FILENAMES
    assert tuple(names) == frameworks._FILES[implementation]


@pytest.mark.parametrize(
    ("framework", "name"),
    [(framework, name) for framework in ALTERNATIVES for name in FILES[framework][0]],
)
def test_a_model_is_loaded_from_each_file_of_the_table(
    framework: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("artifacts/iris").mkdir(parents=True)
    code = FILES[framework][1]
    shown = re.search(r"model\.\w+(?=\")", code)
    assert shown is not None
    model = trained(framework)
    exec(code.replace(shown[0], name), {"joblib": joblib, "model": model})
    assert [path.name for path in Path("artifacts/iris").iterdir()] == [name]
    answer = Model("iris", platform=ModelFramework[framework], local_folder="artifacts/iris")(ROWS)
    np.testing.assert_allclose(answer, model.predict(ROWS), rtol=1e-6)


def trained(framework: str) -> Any:
    if framework == "XGBoost":
        return pytest.importorskip("xgboost").XGBRegressor(n_estimators=3).fit(X, Y)
    if framework == "LightGBM":
        lightgbm = pytest.importorskip("lightgbm")
        return lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, Y)
    return LinearRegression().fit(X, Y)


@pytest.mark.parametrize(
    ("framework", "package", "make"),
    [
        ("MLFlow", "mlflow", lambda folder: LinearRegression().fit(X, Y)),
        ("AlibiDetect", "alibi_detect", lambda folder: _detector()),
        ("AlibiExplain", "alibi", lambda folder: _explainer()),
        ("HuggingFace", "transformers", _transformer),
    ],
)
def test_the_code_of_the_table_writes_the_file_that_the_runtime_looks_for(
    framework: str,
    package: str,
    make: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scope: dict[str, Any] = {package: pytest.importorskip(package)}
    if framework == "AlibiDetect":
        from alibi_detect.saving import save_detector

        scope["save_detector"] = save_detector
    if framework == "MLFlow":
        importlib.import_module("mlflow.sklearn")
    if framework == "HuggingFace":
        pytest.importorskip("torch")
        pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    Path("artifacts").mkdir()
    model = scope["model"] = make(tmp_path / "made")
    names, code = FILES[framework]
    exec(code, scope)
    assert names[0] in {path.name for path in Path("artifacts/iris").iterdir()}
    if framework == "MLFlow" and find_spec("mlserver_mlflow"):
        asked = Model("iris", platform=ModelFramework.MLFlow, local_folder="artifacts/iris")
        np.testing.assert_allclose(asked(ROWS), model.predict(ROWS))
    if framework == "AlibiDetect" and find_spec("mlserver_alibi_detect"):
        asked = Model("iris", platform=ModelFramework.AlibiDetect, local_folder="artifacts/iris")
        expected = model.predict(X[100:])["data"]["is_drift"]
        assert asked(X[100:])["is_drift"].tolist() == [expected]


def test_a_saved_pipeline_has_the_files_of_the_table(tmp_path: Path) -> None:
    @pipeline("doubled")
    def doubled(rows: np.ndarray) -> np.ndarray:
        return 2 * rows

    names = [name for name in FILES["TempoPipeline"][0] if not name.endswith("/")]
    assert len(names) == 3
    folder = Path(save(doubled, str(tmp_path / "doubled")))
    assert [name for name in names if not (folder / name).is_file()] == []
