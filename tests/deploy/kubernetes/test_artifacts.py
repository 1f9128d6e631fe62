"""Pods follow the uploaded artifact and serve no other one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import (
    DeploymentFailed,
    KServeOptions,
    Model,
    ModelFramework,
    Seldon2Options,
    SeldonCoreOptions,
    deploy_remote,
    save,
)
from tempo_runtime.artifact.store import inspect
from tempo_runtime.deploy.kubernetes import failure_logs
from tempo_runtime.deploy.kubernetes.deploy import diff
from tempo_runtime.deploy.kubernetes.manifests import documents
from tempo_runtime.deploy.kubernetes.pods import other_artifact
from tempo_runtime.testing import FakeModel, ServerFailed, serve
from tests.deploy.kubernetes.api_server import ApiServer
from tests.deploy.kubernetes.conftest import options, plus
from tests.deploy.kubernetes.kubelet import Kubelet
from tests.deploy.kubernetes.manifests.models import variables

URI = "s3://models/plus"
SPACE = {"namespace": "production"}
CHOSEN: dict[str, Any] = {
    "seldon": SeldonCoreOptions(remote_options=SPACE),
    "kserve": KServeOptions(remote_options=SPACE),
}


@pytest.fixture
def kubelet(api: ApiServer) -> Iterator[Kubelet]:
    """Nodes, and the pipelines' servers behind their Services."""
    with FakeModel("plus") as plus_served, FakeModel("other") as other_served:
        for name, served in (("plus", plus_served), ("other", other_served)):
            api.services |= {f"{name}-default:9000": served.url}
            api.services |= {f"{name}-predictor:80": served.url}
        api.services["seldon-mesh:80"] = plus_served.url
        yield Kubelet(api)


class Artifact:
    """A pipeline's artifact on this machine, and the one in the bucket."""

    def __init__(self, folder: Path, kubelet: Kubelet, name: str = "plus") -> None:
        self.folder = folder / name
        self.bucket = folder / f"{name}-bucket"
        self._name = name
        kubelet.bucket[f"s3://models/{name}"] = str(self.bucket)
        self.save("1")
        self.upload()

    def save(self, version: str) -> str:
        """Saves a version of it; its digest."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "vocabulary.txt").write_text(version)
        save(plus(f"s3://models/{self._name}", self._name, child=None), str(self.folder))
        return str(inspect(str(self.folder)).digest)

    def upload(self) -> None:
        """Puts it into the bucket, under the URI that it always has."""
        shutil.rmtree(self.bucket, ignore_errors=True)
        shutil.copytree(self.folder, self.bucket)


@pytest.fixture
def artifact(tmp_path: Path, kubelet: Kubelet) -> Artifact:
    return Artifact(tmp_path, kubelet)


def deploy(artifact: Artifact, chosen: Any, timeout: float = 30) -> None:
    deploy_remote(str(artifact.folder), chosen, timeout=timeout).deployment.close()


@pytest.mark.parametrize("platform", CHOSEN)
def test_an_artifact_uploaded_again_under_its_uri_creates_new_pods(
    platform: str, api: ApiServer, kubelet: Kubelet, artifact: Artifact
) -> None:
    deploy(artifact, CHOSEN[platform])
    digest = artifact.save("2")
    artifact.upload()
    assert f"+    seldon.io/tempo-artifact-digest: {digest}" in diff(
        str(artifact.folder), CHOSEN[platform]
    )
    deploy(artifact, CHOSEN[platform])
    assert kubelet.made == ["plus", "plus"]
    assert len([name for kind, name in api.objects if kind == "pods"]) == 1


@pytest.mark.parametrize(
    "chosen", [*CHOSEN.values(), Seldon2Options(remote_options={**SPACE, "server": "own"})]
)
def test_diff_says_in_words_that_another_artifact_will_be_served(
    chosen: Any, kubelet: Kubelet, artifact: Artifact
) -> None:
    deploy(artifact, chosen)
    before, after = inspect(str(artifact.folder)).digest, artifact.save("2")
    told = diff(str(artifact.folder), chosen).splitlines()[0]
    assert told.endswith(f"/plus is loaded again: its artifact is {after} instead of {before}")


@pytest.mark.parametrize("platform", CHOSEN)
def test_an_unchanged_artifact_creates_no_pods(
    platform: str, kubelet: Kubelet, artifact: Artifact
) -> None:
    for _ in range(2):
        artifact.save("1")
        artifact.upload()
        deploy(artifact, CHOSEN[platform])
    assert diff(str(artifact.folder), CHOSEN[platform]) == ""
    assert kubelet.made == ["plus"]


@pytest.mark.parametrize("platform", CHOSEN)
def test_a_pod_whose_bucket_holds_another_artifact_says_so_in_a_line(
    platform: str, api: ApiServer, kubelet: Kubelet, artifact: Artifact
) -> None:
    deploy(artifact, CHOSEN[platform])
    there, deployed = inspect(str(artifact.folder)).digest, artifact.save("2")
    with pytest.raises(DeploymentFailed) as failed:
        deploy(artifact, CHOSEN[platform])
    text = str(failed.value)
    assert text.startswith(
        f"plus has failed: the artifact at {URI} has the digest {there}, but {deployed} is deployed: "
        "upload that one (`tempo-runtime upload FOLDER`), or deploy the one that is at the URI"
    )
    assert "\n" not in text
    # The pod of before goes on.
    assert len([name for kind, name in api.objects if kind == "pods"]) == 2


def test_a_real_servers_log_about_another_artifact_is_understood(artifact: Artifact) -> None:
    there = inspect(str(artifact.folder)).digest
    deployed = artifact.save("2")
    [made] = documents(str(artifact.folder), options())
    [container] = made["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    with pytest.raises(ServerFailed) as failed, serve(artifact.bucket, env=variables(container)):
        pass
    log = "\n".join(str(failed.value).splitlines()[-failure_logs.LINES :])
    assert other_artifact(log) == (there, deployed)


def test_a_model_of_seldon_core_2_says_so_too(
    kubelet: Kubelet, artifact: Artifact, tmp_path: Path
) -> None:
    artifact.save("2")
    chosen = Seldon2Options(remote_options={**SPACE, "server": "own"})
    with pytest.raises(DeploymentFailed, match=f"the artifact at {URI} has the digest sha256:.*"):
        deploy(artifact, chosen)


def test_the_artifact_that_was_deployed_before_is_deployed_again(
    kubelet: Kubelet, artifact: Artifact, tmp_path: Path
) -> None:
    before = shutil.copytree(artifact.folder, tmp_path / "before")
    artifact.save("2")
    artifact.upload()
    deploy(artifact, options())
    artifact.folder = before
    artifact.upload()
    deploy(artifact, options())
    assert kubelet.made == ["plus", "plus"]


def test_without_pins_an_artifact_uploaded_again_is_not_noticed(
    kubelet: Kubelet, artifact: Artifact
) -> None:
    for version in ("1", "2"):
        artifact.save(version)
        deploy(artifact, options(pin_artifact=False))
    assert kubelet.made == ["plus"]


def test_files_of_a_child_of_another_framework_make_new_pods_of_that_child(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    (tmp_path / "line").mkdir()
    line = Model(
        "line",
        platform=ModelFramework.SKLearn,
        local_folder=str(tmp_path / "line"),
        uri="s3://models/line",
    )
    for content in ("1", "2"):
        (tmp_path / "line" / "model.joblib").write_text(content)
        deploy_remote(plus(child=line), options(), timeout=30).deployment.close()
    assert kubelet.made == ["line", "plus", "line"]


def test_a_shared_child_keeps_its_digest_where_its_artifact_is_not_on_this_machine(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "model.joblib").write_text("1")
    uri = "s3://models/line"
    here = Model(
        "line", platform=ModelFramework.SKLearn, local_folder=str(tmp_path / "line"), uri=uri
    )
    deploy_remote(plus(child=here), options(), timeout=30).deployment.close()
    elsewhere = Model("line", platform=ModelFramework.SKLearn, uri=uri)
    other = plus("s3://models/other", "other", child=elsewhere)
    deploy_remote(other, options(), timeout=30).deployment.close()
    assert kubelet.made == ["line", "plus", "other"]
