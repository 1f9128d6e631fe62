"""With a demanded key or digest, write access to a folder is not enough to run code from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import httpx
import joblib
import numpy as np
import pytest
from mlserver import ModelSettings
from mlserver.errors import MLServerError

from tempo_runtime import ArtifactError, LocalOptions, SettingsError, deploy_local, load, save
from tempo_runtime._util import atomic_files
from tempo_runtime._util.ports import free_ports
from tempo_runtime.artifact.description import digest_of
from tempo_runtime.artifact.store import inspect
from tempo_runtime.artifact.trust import EXPECTED_DIGEST, VERIFY_KEY
from tempo_runtime.deploy.local import engine
from tempo_runtime.deploy.local.image_build import build_image
from tempo_runtime.errors import TempoError
from tempo_runtime.protocol.binding import encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json
from tempo_runtime.servers import model_set, repository
from tempo_runtime.servers.process import Ports
from tempo_runtime.servers.run import Running, running
from tests.deploy.conftest import alone
from tests.helpers.command_line import run
from tests.integrity.signed import (
    ANSWER,
    Signed,
    hostile_module,
    hostile_pickle,
    make_signed,
)

pytestmark = pytest.mark.traced

ROOT = Path(__file__).parents[2]
ROW = np.array([[1.0, 2.0]])
SKLEARN = "mlserver_sklearn.SKLearnModel"
Attack = Callable[[Signed], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return make_signed(tmp_path_factory.mktemp("signed"))


def copied(original: Signed, folder: Path) -> Signed:
    """A copy that a test may attack."""
    shutil.copytree(original.shop.parent, folder, dirs_exist_ok=True)
    places = (folder / name for name in ("shop", "prices", "tax"))
    return Signed(*places, original.private, original.public, folder / "attacked")


@pytest.fixture
def signed(original: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """A copy, and the key that is demanded."""
    monkeypatch.setenv(VERIFY_KEY, original.public)
    return copied(original, tmp_path)


def digest_of_file(path: Path) -> str:
    return atomic_files.sha256(path.read_bytes())


def change(path: Path, **settings: Any) -> None:
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **settings}))


# -- attacks: what somebody who can write the folders may do to a server -----------------------------


def add_a_module(name: str) -> Attack:
    def add(signed: Signed) -> None:
        place = signed.shop / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(hostile_module(signed.marker))

    add.__name__ = f"add_{name.replace('/', '_').replace('.', '_')}"
    return add


def name_a_class(signed: Signed) -> None:
    (signed.shop / "evil.bin").write_bytes(hostile_pickle(signed.marker))
    parameters = {"uri": "evil.bin"}
    change(signed.shop / "model-settings.json", implementation=SKLEARN, parameters=parameters)


def name_a_class_by_its_variable(signed: Signed) -> None:
    """MLServer reads the implementation by this name as well."""
    path = signed.shop / "model-settings.json"
    settings = json.loads(path.read_text())
    settings["MLSERVER_MODEL_IMPLEMENTATION"] = SKLEARN
    del settings["implementation"]
    path.write_text(json.dumps(settings))


def name_another_artifact(signed: Signed) -> None:
    change(signed.shop / "model-settings.json", parameters={"uri": "../prices"})


def name_a_class_beside_a_child(signed: Signed) -> None:
    (signed.tax / "hostile.py").write_text(hostile_module(signed.marker))
    change(signed.tax / "model-settings.json", implementation="hostile.Model")


def name_a_class_in_the_parent(signed: Signed) -> None:
    name_a_class_beside_a_child(signed)
    (signed.tax / "model-settings.json").unlink()
    extra = {"models": {"tax": {"implementation": "hostile.Model"}}}
    change(signed.shop / "model-settings.json", parameters={"uri": ".", "extra": extra})


def name_another_folder_in_the_parent(signed: Signed) -> None:
    shutil.copytree(signed.tax, signed.tax.with_name("other"))
    (signed.tax.with_name("other") / "model.joblib").write_bytes(hostile_pickle(signed.marker))
    extra = {"models": {"tax": {"uri": "../other"}}}
    change(signed.shop / "model-settings.json", parameters={"uri": ".", "extra": extra})


def name_a_tarball(signed: Signed) -> None:
    with tarfile.open(signed.shop / "environment.tar.gz", "w:gz") as archive:
        archive.add(__file__, "bin/python")
    parameters = {"uri": ".", "environment_tarball": "./environment.tar.gz"}
    change(signed.shop / "model-settings.json", parameters=parameters)


def name_an_environment(signed: Signed) -> None:
    parameters = {"uri": ".", "environment_path": "./environment"}
    change(signed.shop / "model-settings.json", parameters=parameters)


def swap_the_model_of_a_child(signed: Signed) -> None:
    (signed.tax / "model.joblib").write_bytes(hostile_pickle(signed.marker))


def swap_the_pickle(signed: Signed) -> None:
    (signed.shop / "pipeline.dill").write_bytes(hostile_pickle(signed.marker))


def downgrade_a_child(signed: Signed) -> None:
    (signed.prices / "tempo.json").unlink()
    (signed.prices / "model.joblib").write_bytes(hostile_pickle(signed.marker))
    change(signed.prices / "model-settings.json", implementation=SKLEARN)


def add_server_settings(signed: Signed) -> None:
    change(signed.shop / "settings.json", model_repository_implementation="hostile.Repository")


ATTACKS: list[Attack] = [
    *map(add_a_module, ("tempo_runtime.py", "dill.py", "cryptography/__init__.py")),
    *map(add_a_module, ("tempo/mlserver.py", "sitecustomize.py", "hostile.pth", "numpy.so")),
    name_a_class,
    name_a_class_beside_a_child,
    name_a_class_in_the_parent,
    name_another_folder_in_the_parent,
    name_a_tarball,
    name_an_environment,
    swap_the_model_of_a_child,
    swap_the_pickle,
    downgrade_a_child,
    add_server_settings,
]


def by_serve(folder: Path) -> None:
    with running(model_set.gather([str(folder)]), Ports(*free_ports(3)), timeout=60):
        pass


def by_deploy(folder: Path) -> None:
    with alone(folder.parent / "state"), deploy_local(str(folder), LocalOptions(timeout=60)):
        pass


@pytest.mark.parametrize("program", [by_serve, by_deploy], ids=["serve", "deploy"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
def test_an_attack_is_refused_before_a_server_starts(
    attack: Attack, program: Callable[[Path], None], signed: Signed
) -> None:
    attack(signed)
    with pytest.raises((ArtifactError, SettingsError)) as refused:
        program(signed.shop)
    assert "\n" not in str(refused.value)
    assert "tempo-verified-" not in str(refused.value)
    assert not signed.attacked


def test_the_command_refuses_settings_of_the_server_that_nothing_covers(signed: Signed) -> None:
    add_server_settings(signed)
    code, _, said = run("serve", signed.shop, "--port", 0)
    assert code != 0
    assert f"{signed.shop}/settings.json could run or configure a server" in said


def test_settings_of_the_server_beside_several_models_are_refused(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(signed.shop.parent / "settings.json", debug=True)
    shutil.rmtree(signed.tax)
    extra = {"models": {"tax": {"url": "http://127.0.0.1:1"}}}
    change(signed.shop / "model-settings.json", parameters={"uri": ".", "extra": extra})
    code, _, said = run("serve", signed.shop.parent, "--port", 0)
    assert code != 0
    assert "settings.json configures the server, but no signature or digest covers it" in said


def test_a_model_that_is_not_a_pipeline_is_served_where_its_digest_is_demanded(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(signed.tax / "model-settings.json", name="tax", implementation=SKLEARN)
    monkeypatch.delenv(VERIFY_KEY)
    monkeypatch.setenv(EXPECTED_DIGEST, f"sha256:{'0' * 64}")
    with pytest.raises(ArtifactError, match=r"tax has the digest (sha256:\w+), but") as refused:
        model_set.gather([str(signed.tax)])
    digest = str(refused.value).split()[4].rstrip(",")
    monkeypatch.setenv(EXPECTED_DIGEST, digest)
    assert model_set.gather([str(signed.tax)])["tax"].digests == [digest]
    (signed.tax / "hostile.py").write_text(hostile_module(signed.marker))
    with pytest.raises(ArtifactError, match="has the digest"):
        model_set.gather([str(signed.tax)])


def test_a_child_is_pinned_by_its_pipeline_also_where_its_folder_comes_first(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the three only the pipeline has the digest that is demanded, and its folder is the last."""
    monkeypatch.delenv(VERIFY_KEY)
    monkeypatch.setenv(EXPECTED_DIGEST, inspect(str(signed.shop)).digest)
    signed.shop.rename(signed.shop.with_name("z-shop"))
    assert set(model_set.gather([str(signed.shop.parent)])) == {"shop", "prices", "tax"}


@pytest.mark.parametrize("name", ["settings.json", "../shop", "x" * 300])
def test_a_name_that_no_folder_can_have_is_refused_in_one_line(name: str, signed: Signed) -> None:
    change(signed.shop / "model-settings.json", name=name)
    models = model_set.gather([str(signed.shop)])
    place = signed.shop.parent / "server"
    place.mkdir()
    with pytest.raises(
        ArtifactError, match=r"shop: '.*' is not a valid model name \(.*\); correct it"
    ):
        repository.write(place, models.values(), {})


# -- what is served answers as it does without a demand ----------------------------------------------


@pytest.fixture(scope="module")
def serving(original: Signed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The pipeline and its children, served under the demand of a key; files changed since."""
    signed = copied(original, tmp_path_factory.mktemp("serving"))
    (signed.prices / ".tempo-next").mkdir()
    shutil.copy(signed.prices / "pipeline.dill", signed.prices / ".tempo-next")
    (signed.prices / "pipeline.dill").write_bytes(hostile_pickle(signed.marker))
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # and not for other tests of this file
            patch.setenv(VERIFY_KEY, signed.public)
            models = model_set.gather([str(signed.shop)])
            up = stack.enter_context(running(models, Ports(*free_ports(3)), timeout=120))
        yield up
    assert not signed.attacked


def ask(url: str, model: str, **arguments: Any) -> Any:
    body = request_to_json(Request(encode_arguments(None, (), arguments)))
    answer = httpx.post(f"{url}/v2/models/{model}/infer", content=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def test_a_signed_pipeline_answers_with_the_models_beside_it(serving: Running) -> None:
    assert set(serving.models) == {"shop", "prices", "tax"}
    assert ask(serving.server.url, "shop", rows=ROW) == ANSWER


def test_a_model_that_is_swapped_while_it_is_served_is_not_loaded_again(serving: Running) -> None:
    place = Path(serving.models["tax"].folder, "model.joblib")
    content, marker = place.read_bytes(), place.parents[1] / "attacked"
    place.write_bytes(hostile_pickle(marker))
    try:
        answer = httpx.post(f"{serving.server.url}/v2/repository/models/tax/load", timeout=60)
        assert answer.status_code >= 400
        assert not marker.exists()
    finally:
        place.write_bytes(content)
    assert ask(serving.server.url, "shop", rows=ROW) == ANSWER


def test_a_deployment_answers_and_what_has_not_changed_goes_on(signed: Signed) -> None:
    options = LocalOptions(timeout=120)
    with alone(signed.shop.parent / "state"), deploy_local(str(signed.shop), options) as remote:
        assert remote(ROW) == ANSWER
        loaded = load(str(signed.shop), verify=signed.public)
        again = deploy_local(loaded, options)
        assert set(again.changes.values()) == {"unchanged"}
        swap_the_model_of_a_child(signed)
        with pytest.raises(ArtifactError, match="tax has the digest"):
            deploy_local(loaded, options)
        assert remote(ROW) == ANSWER
    assert not signed.attacked


def test_a_pipeline_that_was_loaded_with_a_key_is_deployed_with_it(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VERIFY_KEY)
    loaded = load(str(signed.shop), verify=signed.public)
    swap_the_model_of_a_child(signed)
    with (
        alone(signed.shop.parent / "state"),
        pytest.raises(ArtifactError, match=f"{signed.tax} has the digest"),
    ):
        deploy_local(loaded, LocalOptions(timeout=60))


def test_a_file_that_is_swapped_while_a_server_loads_it_never_runs(signed: Signed) -> None:
    served = model_set.gather([str(signed.shop)])
    written = signed.shop.parent / "server"
    written.mkdir()
    repository.write(written, served.values(), {})
    place = signed.tax / "model.joblib"
    contents = [hostile_pickle(signed.marker), place.read_bytes()]
    ended = threading.Event()

    def keep_swapping() -> None:
        while not ended.is_set():
            for content in contents:
                aside = place.with_suffix(".new")
                aside.write_bytes(content)
                aside.replace(place)

    async def load_often() -> list[bool]:
        outcomes = []
        for _ in range(20):
            settings = ModelSettings.parse_file(str(written / "tax/model-settings.json"))
            model = settings.implementation(settings)
            try:
                outcomes.append(await model.load())
                await model.unload()
            except (TempoError, MLServerError):
                outcomes.append(False)
        return outcomes

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VERIFY_KEY)
        swapping = threading.Thread(target=keep_swapping)
        swapping.start()
        try:
            outcomes = asyncio.run(load_often())
        finally:
            ended.set()
            swapping.join()
    assert len(outcomes) == 20
    assert not signed.attacked


def test_a_packed_environment_is_given_to_mlserver_as_it_was_checked(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_a_tarball(signed)
    tarball, described = signed.shop / "environment.tar.gz", signed.shop / "tempo.json"
    content = tarball.read_bytes()
    named = {**json.loads(described.read_text())["files"], tarball.name: digest_of_file(tarball)}
    change(described, files=named)
    monkeypatch.delenv(VERIFY_KEY)
    monkeypatch.setenv(EXPECTED_DIGEST, digest_of(json.loads(described.read_text())))
    shop = model_set.gather([str(signed.shop)])["shop"]
    for folder in ("server", "other"):
        (signed.shop.parent / folder).mkdir()
    repository.write(signed.shop.parent / "server", [shop], {})
    place = signed.shop.parent / "server/shop"
    settings = json.loads((place / "model-settings.json").read_text())
    assert settings["parameters"]["environment_tarball"] == str(place / tarball.name)
    assert (place / tarball.name).read_bytes() == content
    tarball.write_bytes(b"swapped after the check")
    with pytest.raises(
        ArtifactError, match=r"environment\.tar\.gz .* is not the file that was saved"
    ):
        repository.write(signed.shop.parent / "other", [shop], {})


_STEPS = """
import os
from sklearn.base import BaseEstimator
from tempo_runtime import Model, ModelFramework, PipelineModels, pipeline

HERE = os.path.dirname(__file__)

class Twice(BaseEstimator):
    def predict(self, rows):
        return rows.sum(axis=1) * 2

tax = Model("tax", platform=ModelFramework.SKLearn, local_folder=os.path.join(HERE, "tax"))

@pipeline("shop", models=PipelineModels(tax=tax), local_folder=os.path.join(HERE, "shop"))
def shop(value: float) -> float:
    return value
"""


def test_a_model_is_unpickled_with_the_code_that_was_checked_and_no_other(
    original: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_steps.py").write_text(_STEPS)
    (tmp_path / "tax").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    import some_steps  # type: ignore[import-not-found]

    joblib.dump(some_steps.Twice(), tmp_path / "tax/model.joblib")
    save(some_steps.shop, sign=original.private)
    del sys.modules["some_steps"]
    (tmp_path / "some_steps.py").unlink()
    (tmp_path / "server").mkdir()
    with monkeypatch.context() as demanding:
        demanding.setenv(VERIFY_KEY, original.public)
        served = model_set.gather([str(tmp_path / "shop")])
    repository.write(tmp_path / "server", served.values(), {})

    async def loads() -> bool:
        settings = ModelSettings.parse_file(str(tmp_path / "server/tax/model-settings.json"))
        model = settings.implementation(settings)
        loaded = await model.load()
        await model.unload()
        return bool(loaded)

    assert asyncio.run(loads())
    marker = tmp_path / "attacked"
    (tmp_path / "shop/code/some_steps.py").write_text(hostile_module(marker))
    with pytest.raises(
        ArtifactError, match=r"code/some_steps\.py .* is not the file that was saved"
    ):
        asyncio.run(loads())
    assert not marker.exists()


# -- the image's program ------------------------------------------------------------------------------


def image_serve(models: Path, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the image's `serve` in the folder; the replacement of MLServer prints its arguments.

    It then tells the program to end, which otherwise would be a failure.
    """
    programs = home / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "mlserver").write_text(
        '#!/bin/sh\necho "$@"\nenv | grep ^TEMPO_RUNTIME_\nfind "$2" -type f -exec cat {} +\n'
        "kill -TERM $PPID\n"
    )
    (programs / "mlserver").chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": f"{ROOT / 'images/server/shim'}",
        "MLSERVER_MODELS_DIR": str(models),
        "MLSERVER_ENV_TARBALL": str(models / "environment.tar.gz"),
        **variables,
    }
    return subprocess.run(
        ["bash", ROOT / "images/server/serve"],
        cwd=models,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize(
    "attack",
    [add_a_module("tempo_runtime.py"), name_a_tarball],
    ids=lambda each: each.__name__,
)
def test_the_image_refuses_an_attack_before_mlserver_starts(
    attack: Attack, signed: Signed, tmp_path: Path
) -> None:
    attack(signed)
    done = image_serve(signed.shop, tmp_path, TEMPO_RUNTIME_VERIFY_KEY=signed.public)
    assert done.returncode != 0
    assert done.stderr.startswith("tempo-serve: ")
    assert done.stdout == ""
    assert not signed.attacked


def test_the_image_has_mlserver_read_a_folder_of_its_own(signed: Signed, tmp_path: Path) -> None:
    done = image_serve(signed.shop, tmp_path, TEMPO_RUNTIME_VERIFY_KEY=signed.public)
    assert done.returncode == 0, done.stderr
    started, *rest = done.stdout.splitlines()
    assert started.startswith(f"start {tmp_path}/checked.")
    digest = inspect(str(signed.shop)).digest
    assert f"{EXPECTED_DIGEST}={digest}" in rest
    assert not any(VERIFY_KEY in line for line in rest)
    assert f'"uri": "{signed.shop}"' in done.stdout


def test_the_image_serves_a_model_that_is_not_a_pipeline_from_a_copy(
    signed: Signed, tmp_path: Path
) -> None:
    children = json.loads((signed.shop / "tempo.json").read_text())["children"]
    variables = {
        EXPECTED_DIGEST: children["tax"]["digest"],
        "MLSERVER_MODEL_NAME": "tax",
        "MLSERVER_MODEL_IMPLEMENTATION": SKLEARN,
        "MLSERVER_MODEL_URI": str(signed.tax),
    }
    done = image_serve(signed.tax, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert "tempo_runtime.execution.with_code.ModelWithCode" in done.stdout
    swap_the_model_of_a_child(signed)
    done = image_serve(signed.tax, tmp_path, **variables)
    assert done.returncode != 0
    assert f"{signed.tax} has the digest" in done.stderr


def test_the_image_unpacks_the_environment_that_was_checked_also_where_models_arrive_later(
    signed: Signed, tmp_path: Path
) -> None:
    """The environment in the folder of models is swapped once it was checked."""
    name_a_tarball(signed)
    tarball, described = signed.shop / "environment.tar.gz", signed.shop / "tempo.json"
    good, hostile = tmp_path / "good.sh", tmp_path / "hostile.sh"
    good.write_text("echo activated\n")
    hostile.write_text(f": >{signed.marker}\n")
    for each in (hostile, good):
        with tarfile.open(tarball if each is good else tmp_path / "hostile.tar.gz", "w:gz") as tar:
            tar.add(each, "bin/activate")
    named = {**json.loads(described.read_text())["files"], tarball.name: digest_of_file(tarball)}
    change(described, files=named)
    (tmp_path / "programs").mkdir()
    swapping = tmp_path / "programs/mktemp"
    swapping.write_text(
        f'#!/bin/sh\ncase "$*" in *environment*) cp {tmp_path}/hostile.tar.gz {tarball};; esac\n'
        'exec /usr/bin/mktemp "$@"\n'
    )
    swapping.chmod(0o755)
    variables = {
        EXPECTED_DIGEST: digest_of(json.loads(described.read_text())),
        "MLSERVER_LOAD_MODELS_AT_STARTUP": "false",
    }
    done = image_serve(signed.shop, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("activated\n")
    assert not signed.attacked


# -- an image of one artifact -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [
        add_a_module("tempo_runtime.py"),
        name_a_class,
        name_a_class_by_its_variable,
        name_another_artifact,
        name_a_tarball,
        swap_the_pickle,
    ],
    ids=lambda each: each.__name__,
)
def test_an_attack_is_not_built_into_an_image(attack: Attack, signed: Signed) -> None:
    attack(signed)
    with pytest.raises((ArtifactError, SettingsError)):
        build_image(signed.shop)


def test_an_image_is_built_from_the_bytes_that_were_checked(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, sent = (signed.shop / "pipeline.dill").read_bytes(), []

    def build(fileobj: IO[bytes], **_: Any) -> Any:
        with tarfile.open(fileobj=fileobj) as archive:
            pickle = archive.extractfile("artifact/pipeline.dill")
            assert pickle is not None
            sent.append(pickle.read())
        return SimpleNamespace(id="1", attrs={"Size": 1}), []

    @contextlib.contextmanager
    def connected() -> Iterator[Any]:
        swap_the_pickle(signed)  # after the check
        yield SimpleNamespace(images=SimpleNamespace(build=build))

    monkeypatch.setattr(engine, "connected", connected)
    monkeypatch.setattr(engine, "image", lambda client, base: None)
    build_image(signed.shop)
    assert sent == [content]
