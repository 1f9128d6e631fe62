"""Which models a server is to serve, and how its pipelines reach them. No server is started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactMissing,
    ArtifactUntrusted,
    EnvironmentFailed,
    ModelFramework,
    SettingsError,
    save,
)
from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.servers import repository
from tempo_runtime.servers.model_set import gather, gather_model
from tempo_runtime.servers.repository import Served, write
from tests.helpers import pipelines
from tests.helpers.nested_pipeline import saved_shop


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(saved: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    shutil.copytree(saved.parent, tmp_path / "copy")
    return tmp_path / "copy" / "shop"


def found(shop: Path, environ: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
    return gather([str(shop)], environ=environ or {}, **options)


def transports(model: Served) -> dict[str, str]:
    models = repository.parameters_of(model.settings)["extra"].get("models", {})
    return {alias: settings.get("transport") for alias, settings in models.items()}


def test_children_are_models_of_the_same_server(shop: Path) -> None:
    models = found(shop)
    assert list(models) == ["shop", "prices", "tax"]
    assert transports(models["shop"]) == {"prices": "http", "tax": "http"}
    assert models["shop"].calls == {
        "prices": "prices, same server",
        "tax": "tax, same server",
    }
    prices = models["prices"].settings
    assert prices["implementation"] == "mlserver_sklearn.SKLearnModel"
    assert prices["parameters"]["uri"] == str(shop.parent / "prices")


def test_in_process_the_pipeline_is_alone(shop: Path) -> None:
    change(shop, models={"tax": {"transport": "http"}})
    models = found(shop, in_process=True)
    assert list(models) == ["shop"]
    assert transports(models["shop"]) == {"tax": "in_process"}


@pytest.mark.parametrize("in_process", [False, True])
def test_a_child_with_a_url_is_elsewhere(shop: Path, in_process: bool) -> None:
    change(shop, models='{"prices": {"url": "http://prices:9000"}}')
    environ = {"TEMPO_RUNTIME_MODELS__TAX__URL": "grpc://tax:9500"}
    models = found(shop, environ, in_process=in_process)
    assert list(models) == ["shop"]
    assert models["shop"].calls == {
        "prices": "prices, http://prices:9000",
        "tax": "tax, grpc://tax:9500",
    }


@pytest.mark.parametrize(
    "environ",
    [
        {"TEMPO_RUNTIME_MODELS__PRICES__TRANSPORT": "in_process"},
        {"TEMPO_RUNTIME_MODELS__PRICES__FAST_SKLEARN": "true"},
    ],
)
def test_a_child_set_to_in_process_stays_there(shop: Path, environ: dict[str, str]) -> None:
    models = found(shop, environ)
    assert list(models) == ["shop", "tax"]
    assert models["shop"].calls["prices"] == "prices, in process"
    assert models["shop"].inside == [str(shop.parent / "prices")]


def test_a_sibling_is_served_under_the_name_it_is_called_by(shop: Path) -> None:
    change(shop, models={"prices": {"model": "prices-2", "transport": "grpc"}})
    models = found(shop)
    assert list(models) == ["shop", "prices-2", "tax"]
    assert models["shop"].calls["prices"] == "prices-2, same server"


def test_a_child_of_a_child_in_process_is_served_where_its_settings_say(
    shop: Path, tmp_path: Path
) -> None:
    change(shop, models={"prices": {"transport": "http"}})
    outer = tmp_path / "copy" / "outer"
    shutil.copytree(shop, outer)
    manifest = json.loads((outer / "tempo.json").read_text())
    child = {"name": "shop", "platform": "tempo", "uri": "", "folder": "../shop"}
    manifest["children"] = {"shop": child}
    (outer / "tempo.json").write_text(json.dumps(manifest))
    change(outer, name="outer", models={"shop": {"transport": "in_process"}})
    assert list(found(outer)) == ["outer", "prices"]


def test_a_child_without_an_address_is_reported_with_the_remedy(shop: Path) -> None:
    shutil.rmtree(shop.parent / "prices")
    with pytest.raises(SettingsError, match=r"child 'prices'.*MODELS__PRICES__URL"):
        found(shop)


def test_a_child_that_only_triton_serves_is_reported_with_the_command_that_starts_it(
    shop: Path,
) -> None:
    manifest = json.loads((shop / "tempo.json").read_text())
    manifest["children"]["prices"]["platform"] = "tensorflow"
    (shop / "tempo.json").write_text(json.dumps(manifest))
    with pytest.raises(
        SettingsError, match=r"Triton serves .* 'tensorflow'.*docker run.*PRICES__URL"
    ):
        found(shop)


def test_a_missing_runtime_is_reported_with_the_command_that_installs_it(shop: Path) -> None:
    settings = {"name": "prices", "implementation": "mlserver_nothing.Model"}
    (shop.parent / "prices/model-settings.json").write_text(json.dumps(settings))
    with pytest.raises(ArtifactError, match="pip install mlserver-nothing"):
        found(shop)


def test_this_python_need_not_support_a_model_that_it_does_not_serve(shop: Path) -> None:
    settings = {"name": "prices", "implementation": "mlserver_nothing.Model"}
    (shop.parent / "prices/model-settings.json").write_text(json.dumps(settings))
    for folder in (shop, shop.parent / "tax"):
        manifest = json.loads((folder / "tempo.json").read_text())
        (folder / "tempo.json").write_text(json.dumps({**manifest, "python": "3.8"}))
    details = ModelDetails("shop", ModelFramework.TempoPipeline, local_folder=str(shop))
    assert list(gather_model(details, {}, here=False)) == ["shop", "prices", "tax"]
    with pytest.raises(ArtifactError):
        gather_model(details, {})


def test_two_models_of_one_name_are_refused_and_the_same_one_twice_is_not(
    shop: Path, tmp_path: Path
) -> None:
    other = save(pipelines.double, str(tmp_path / "double"))
    change(Path(other), name="tax")
    with pytest.raises(SettingsError, match="two models are called 'tax'"):
        gather([str(shop), other], environ={})
    assert list(gather([str(shop), str(shop.parent / "tax")], environ={})) == [
        "shop",
        "prices",
        "tax",
    ]


def test_a_folder_of_folders_serves_all_of_them(shop: Path) -> None:
    assert list(gather([str(shop.parent)], environ={})) == ["shop", "prices", "tax"]


def test_a_folder_without_models_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match=r"there is no model in .*model-settings\.json"):
        gather([str(tmp_path)])


def test_paths_become_absolute_and_the_settings_of_the_artifact_stay(shop: Path) -> None:
    before = pack(shop)
    parameters = found(shop)["shop"].settings["parameters"]
    assert parameters["uri"] == str(shop)
    assert parameters["environment_tarball"] == str(shop / "environment.tar.gz")
    assert json.loads((shop / "model-settings.json").read_text()) == before


def test_a_packed_artifact_is_checked_before_its_environment_runs(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(shop)
    found(shop)
    monkeypatch.setenv("TEMPO_RUNTIME_EXPECTED_DIGEST", f"sha256:{'0' * 64}")
    with pytest.raises(ArtifactUntrusted, match="has the digest"):
        found(shop)
    monkeypatch.delenv("TEMPO_RUNTIME_EXPECTED_DIGEST")
    with (shop / "pipeline.dill").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ArtifactDamaged, match=r"pipeline\.dill .* is not the file that was saved"):
        found(shop)


def test_an_artifact_of_another_python_is_served_if_its_environment_brings_it(shop: Path) -> None:
    for folder in (shop, shop.parent / "tax"):
        manifest = json.loads((folder / "tempo.json").read_text())
        (folder / "tempo.json").write_text(json.dumps({**manifest, "python": "3.8"}))
    with pytest.raises(ArtifactError, match=r"saved by Python 3\.8"):
        found(shop, in_process=True)
    pack(shop)
    assert found(shop, in_process=True)["shop"].packed


def test_an_environment_without_its_interpreter_is_refused_with_the_remedy(shop: Path) -> None:
    manifest = json.loads((shop / "tempo.json").read_text())
    manifest["environment"] = {"maker": "venv", "python": "3.11.7", "interpreter": "/no/python"}
    (shop / "tempo.json").write_text(json.dumps(manifest))
    assert found(shop)  # it is not asked for
    pack(shop)
    with pytest.raises(EnvironmentFailed, match=r"needs /no/python.*install Python 3\.11\.7"):
        found(shop)


def test_a_missing_environment_is_reported(shop: Path) -> None:
    pack(shop)
    (shop / "environment.tar.gz").unlink()
    with pytest.raises(ArtifactMissing, match=r"environment\.tar\.gz does not exist; save"):
        found(shop)


@pytest.mark.parametrize(
    ("asked", "stated", "packed", "count"),
    [
        (None, None, False, 0),
        (None, None, True, 1),
        (None, 2, True, 2),
        (3, 2, True, 3),
        (2, None, False, 2),
        (0, 2, False, 0),
    ],
)
def test_workers(asked: int | None, stated: int | None, packed: bool, count: int) -> None:
    assert repository.workers([served(packed)], asked, stated) == count


@pytest.mark.parametrize(("asked", "stated"), [(0, None), (0, 2), (None, 0)])
def test_an_environment_without_a_worker_is_refused(asked: int | None, stated: int | None) -> None:
    with pytest.raises(SettingsError, match="m: an environment_tarball needs a parallel worker"):
        repository.workers([served(True)], asked, stated)


def test_the_written_folder_has_the_settings_and_the_code_that_models_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/code.py").write_text("")
    (tmp_path / "root").mkdir()
    model = Served("m", {"name": "m"}, str(tmp_path / "own"))
    write(tmp_path / "root", [model], {"debug": False})
    assert json.loads((tmp_path / "root/settings.json").read_text()) == {"debug": False}
    assert json.loads((tmp_path / "root/m/model-settings.json").read_text()) == {"name": "m"}
    assert (tmp_path / "root/m/code.py").resolve() == tmp_path / "own/code.py"


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(ArtifactDamaged, match="not a valid model name"):
        write(tmp_path / "root", [Served("../m", {}, str(tmp_path))], {})
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_null_uri_means_the_folder() -> None:
    found = repository.located({"parameters": {"uri": None}}, "/m")
    assert found["parameters"]["uri"] == "/m"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"parameters": 1}',
        '{"parameters": {"uri": 5}}',
        '{"parameters": {"environment_tarball": []}}',
        '{"parameters": {"extra": 5}}',
    ],
)
def test_settings_that_are_not_json_are_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "model-settings.json").write_text(text)
    with pytest.raises(ArtifactDamaged, match="correct it"):
        gather([str(tmp_path)])


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"max_batch_size": "many"}, "max_batch_size: .*integer"),
        ({"parameters": {"version": 1}}, r"parameters\.version: .*string"),
        ({"implementation": None}, "implementation: .*string"),
    ],
)
def test_settings_that_mlserver_cannot_read_are_reported_with_the_field(
    wrong: dict[str, Any], fault: str, shop: Path
) -> None:
    path = shop.parent / "tax/model-settings.json"
    settings = {**json.loads(path.read_text()), **wrong}
    with pytest.raises(SettingsError, match=rf"/m: its model-settings\.json is invalid: {fault}"):
        repository.check(settings, "/m", {})


def test_an_implementation_from_the_environment_is_accepted() -> None:
    repository.check({}, "/m", {"MLSERVER_MODEL_IMPLEMENTATION": "some.Model"})
    with pytest.raises(SettingsError, match="implementation: Field required"):
        repository.check({}, "/m", {})


def test_a_child_that_mlserver_cannot_read_is_reported_before_it_is_served_elsewhere(
    shop: Path,
) -> None:
    path = shop.parent / "tax/model-settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_batch_size": "many"}))
    details = ModelDetails("shop", ModelFramework.TempoPipeline, local_folder=str(shop))
    with pytest.raises(SettingsError, match=r"/tax: its .* max_batch_size: "):
        gather_model(details, {}, here=False)


def pack(folder: Path) -> Any:
    (folder / "environment.tar.gz").touch()
    return change(folder, parameters={"environment_tarball": "./environment.tar.gz"})


def served(packed: bool) -> Served:
    parameters = {"environment_tarball": "/environment.tar.gz"} if packed else {}
    return Served("m", {"parameters": parameters}, "/")


def change(
    folder: Path, *, name: str | None = None, models: Any = None, parameters: Any = None
) -> Any:
    path = folder / "model-settings.json"
    settings = json.loads(path.read_text())
    settings["name"] = name or settings["name"]
    settings["parameters"] |= parameters or {}
    if models is not None:
        settings["parameters"]["extra"]["models"] = models
    path.write_text(json.dumps(settings))
    return settings


@pytest.mark.parametrize(
    ("stated", "wanted", "page"),
    [({}, True, "true"), ({}, False, "false"), ("false", True, "false"), ("true", False, "false")],
)
def test_a_server_has_a_page_unless_somebody_refuses_it(
    stated: str | dict[str, str], wanted: bool, page: str
) -> None:
    before = {"TEMPO_RUNTIME_PAGE": stated} if isinstance(stated, str) else stated
    environ = repository.with_page({"A": "1", **before}, wanted, "box")
    expected = {"TEMPO_RUNTIME_PAGE": page, "TEMPO_RUNTIME_PAGE_HOSTS": "box"}
    assert environ == {"A": "1", **expected}


def test_the_address_that_a_server_listens_on_is_added_to_its_names() -> None:
    environ = repository.with_page({"TEMPO_RUNTIME_PAGE_HOSTS": "a.example,box"}, True, "box")
    assert environ["TEMPO_RUNTIME_PAGE_HOSTS"] == "a.example,box"
