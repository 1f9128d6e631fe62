"""A deployment that is not possible is refused in one line with the remedy, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import socket
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, DockerOptions, SettingsError, deploy_local
from tempo_runtime._util import extras
from tempo_runtime.deploy.local import engine as our_engine
from tempo_runtime.deploy.local import find
from tests.containers.deploy.conftest import Readable
from tests.containers.running import readable

pytestmark = pytest.mark.slow


def refusal(model: Any, options: DockerOptions, **changed: Any) -> str:
    with pytest.raises(DeploymentFailed) as refused:
        deploy_local(model, options.model_copy(update=changed))
    said = str(refused.value)
    assert "Traceback" not in said
    assert "\n" not in said or "its log ends with" in said
    return said


@pytest.mark.parametrize("place", ["unix:///nowhere/podman.sock", "tcp://127.0.0.1:1", "nonsense"])
def test_no_engine_is_said_with_its_place(
    studio: Readable,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", place)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    said = refusal(studio.line, DockerOptions())
    assert said.startswith(f"no container engine answers at {place}: start Docker")
    assert list(find.deployments()) == []
    assert place in caplog.text


def test_where_no_engine_is_expected_nothing_is_said_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(our_engine, "_SOCKET", str(tmp_path / "docker.sock"))
    with caplog.at_level(logging.DEBUG):
        assert list(find.deployments()) == []
    assert caplog.text == ""


def test_the_missing_package_is_named(studio: Readable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    said = refusal(studio.line, DockerOptions())
    assert said == f"containers need the package docker: {extras.command('docker')}"


def test_an_image_that_is_not_there_is_said_with_how_to_get_it(
    studio: Readable, options: DockerOptions
) -> None:
    said = refusal(studio.line, options, image="no-such-image:1")
    assert "has no image no-such-image:1: build it with `make image`" in said


def test_an_image_that_cannot_be_pulled_is_said(studio: Readable, options: DockerOptions) -> None:
    said = refusal(studio.line, options, images={"line": "127.0.0.1:1/some/image:1"})
    assert said.startswith("the image 127.0.0.1:1/some/image:1 cannot be pulled: ")


def test_an_image_for_a_model_that_is_not_there_is_refused(
    studio: Readable, options: DockerOptions
) -> None:
    chosen = options.model_copy(update={"images": {"lien": "some-image:1"}})
    with pytest.raises(SettingsError) as refused:
        deploy_local(studio.plus(1.0), chosen)
    assert str(refused.value) == (
        f"`images` names lien, but {options.name} has only plus, line; use these names"
    )


@pytest.fixture
def handmade(engine: Any) -> Iterator[Callable[[str], str]]:
    """Makes images that have no program, for a processor."""
    made = []

    def make(processor: str) -> str:
        made.append(f"localhost/tempo-test-{uuid.uuid4().hex[:8]}:1")
        layer = _tar({})
        files: dict[str, Any] = {
            "config.json": {
                "architecture": processor,
                "os": "linux",
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            },
            "layer.tar": layer,
            "manifest.json": [
                {"Config": "config.json", "RepoTags": made[-1:], "Layers": ["layer.tar"]}
            ],
        }
        engine.images.load(_tar(files))
        return made[-1]

    yield make
    for name in made:
        engine.images.remove(name)


def test_an_image_for_other_processors_is_refused(
    studio: Readable, options: DockerOptions, engine: Any, handmade: Callable[[str], str]
) -> None:
    own = engine.version()["Arch"]
    other = "arm64" if own == "amd64" else "amd64"
    foreign = handmade(other)
    said = refusal(studio.line, options, image=foreign)
    assert said.startswith(f"the image {foreign} is for linux/{other}, but the engine at ")
    assert said.endswith(f"is linux/{own}; build or name an image for that")


def test_the_error_has_the_refusal_of_the_engine(
    studio: Readable, options: DockerOptions, engine: Any, handmade: Callable[[str], str]
) -> None:
    said = refusal(studio.line, options, image=handmade(engine.version()["Arch"]))
    assert said.startswith(f"the engine at {our_engine.place()} refuses the request: ")
    assert "/none" in said


def test_a_package_that_the_image_lacks_is_named_with_the_image(
    studio: Readable, options: DockerOptions
) -> None:
    (studio.folder / "line/model-settings.json").write_text(
        json.dumps({"name": "line", "implementation": "mlserver_none.Model"})
    )
    readable(studio.folder)
    said = refusal(studio.line, options)
    assert "No module named 'mlserver_none'; its image is" in said


@pytest.mark.parametrize("which", ["port", "grpc_port"])
def test_a_taken_port_is_refused(studio: Readable, options: DockerOptions, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(studio.line, options, **{which: port})
    assert said.startswith(f"port {port} of 127.0.0.1 is taken by process")


def test_a_host_of_another_machine_is_refused(studio: Readable, options: DockerOptions) -> None:
    said = refusal(studio.line, options, host="192.0.2.1")
    assert said.startswith("192.0.2.1 cannot be listened on")


def test_a_child_in_its_pipeline_s_process_must_be_in_its_folder(
    studio: Readable, options: DockerOptions
) -> None:
    in_process = {"TEMPO_RUNTIME_MODELS__LINE__TRANSPORT": "in_process"}
    said = refusal(studio.plus(1.0), options, env=in_process)
    assert said.startswith(f"plus: {studio.folder}/line is outside of {studio.folder}/plus, but")


def test_a_name_that_its_settings_do_not_have_is_refused(
    studio: Readable, options: DockerOptions
) -> None:
    studio.alone()
    settings = studio.folder / "alone/model-settings.json"
    plus = studio.plus(1.0)
    (studio.folder / "line/model-settings.json").write_text(
        json.dumps({"name": "other", "implementation": "mlserver_sklearn.SKLearnModel"})
    )
    assert settings.exists()
    said = refusal(plus, options, env={"TEMPO_RUNTIME_MODELS__LINE__MODEL": "mine"})
    assert "has the name 'other'" in said


def test_files_that_the_container_s_user_cannot_read_are_named(
    studio: Readable, options: DockerOptions
) -> None:
    alone = studio.alone()
    file = studio.folder / "alone/pipeline.dill"
    file.chmod(0o600)
    said = refusal(alone, options)
    assert said == (
        f"alone failed: its container runs as user 8888:0, who cannot read {file}: "
        f"chmod -R a+rX {studio.folder / 'alone'}"
    )


def test_a_model_that_fails_says_why(studio: Readable, options: DockerOptions) -> None:
    said = refusal(studio.alone(fails=True), options)
    assert said.startswith("alone failed: ")
    assert "the moon is in the wrong place" in said


def test_a_model_that_is_not_ready_in_time_is_ended(
    studio: Readable, options: DockerOptions
) -> None:
    readable(studio.folder)
    said = refusal(studio.line, options, timeout=0.1)
    assert said.startswith("line was not ready in time")


def _tar(files: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
