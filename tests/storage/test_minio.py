"""`create_minio_rclone`, and the cells of a notebook that use it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

import tempo_runtime as tempo
from tempo_runtime import (
    Model,
    ModelFramework,
    PipelineModels,
    StorageError,
    create_minio_rclone,
    pipeline,
    predictmethod,
)
from tests.helpers.artifacts import answer, contents
from tests.storage.cluster import Cluster
from tests.storage.s3 import KEYS, S3, s3_server

SERVICE = "/api/v1/namespaces/minio-system/services"


@pytest.fixture(autouse=True)
def _no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    for name in ("MINIO_ENDPOINT", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def test_the_cells_of_the_notebook_upload_both_models(
    server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIO_ENDPOINT", server.endpoint)
    monkeypatch.setenv("MINIO_ROOT_USER", KEYS[0])
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", KEYS[1])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.joblib").write_bytes(b"forest")
    sklearn_model = Model(
        name="income-sklearn",
        platform=ModelFramework.SKLearn,
        local_folder=str(tmp_path / "model"),
        uri="gs://seldon-models/test/income/model",
    )

    @pipeline(
        name="income-explainer",
        uri="s3://notebook/explainer/pipeline",
        local_folder=str(tmp_path / "explainer"),
        models=PipelineModels(sklearn=sklearn_model),
    )
    class ExplainerPipeline:
        @predictmethod
        def explain(self) -> str:
            return "explained"

    tempo.save(ExplainerPipeline)
    explainer = ExplainerPipeline()

    create_minio_rclone(os.getcwd() + "/rclone-minio.conf")
    tempo.upload(sklearn_model)
    tempo.upload(explainer)

    uploaded = server.folder("seldon-models/test/income/model")
    assert contents(uploaded) == {"model.joblib": b"forest"}
    uploaded = server.folder("notebook/explainer/pipeline")
    assert contents(uploaded) == contents(tmp_path / "explainer")
    for content in contents(server.data).values():
        assert KEYS[1].encode() not in content


def test_the_default_keys_are_minios_own(tmp_path: Path) -> None:
    with s3_server(tmp_path / "data", ("minioadmin", "minioadmin")) as server:
        create_minio_rclone(str(tmp_path / "minio.conf"), endpoint=server.endpoint)
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").touch()
        tempo.upload(str(tmp_path / "model"), uri="s3://made/x")
        assert contents(server.folder("made/x")) == {"weights": b""}


def test_the_file_is_for_its_owner_only_even_if_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "minio.conf"
    path.touch(0o644)
    create_minio_rclone(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["minio.conf"]


def test_without_a_cluster_it_is_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "minio.conf"
    create_minio_rclone(str(path))
    assert "endpoint = http://localhost:9000\n" in path.read_text()


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [({"ip": "10.0.0.7"}, "10.0.0.7:9000"), ({"hostname": "minio.lan"}, "minio.lan:9000")],
)
def test_in_a_cluster_it_is_the_services_load_balancer(
    address: dict[str, str], endpoint: str, tmp_path: Path, cluster: Cluster
) -> None:
    ports = [{"port": 9000}]
    service = {"spec": {"ports": ports}, "status": {"loadBalancer": {"ingress": [address]}}}
    cluster.answers[SERVICE] = {"kind": "ServiceList", "items": [service]}
    create_minio_rclone(str(tmp_path / "minio.conf"))
    assert f"endpoint = http://{endpoint}\n" in (tmp_path / "minio.conf").read_text()


def test_a_service_without_an_address_is_reported(tmp_path: Path, cluster: Cluster) -> None:
    service = {"spec": {"ports": [{"port": 9000}]}, "status": {"loadBalancer": {}}}
    cluster.answers[SERVICE] = {"kind": "ServiceList", "items": [service]}
    with pytest.raises(StorageError, match="has no address from a load balancer; give an endpoint"):
        create_minio_rclone(str(tmp_path / "minio.conf"))


def test_a_cluster_without_minio_leaves_this_machine(tmp_path: Path, cluster: Cluster) -> None:
    cluster.answers[SERVICE] = {"kind": "ServiceList", "items": []}
    create_minio_rclone(str(tmp_path / "minio.conf"))
    assert "endpoint = http://localhost:9000\n" in (tmp_path / "minio.conf").read_text()


WRONG = [
    (
        SimpleNamespace(endpoint="ftp://x"),
        "'ftp://x' is not an endpoint of MinIO; an example is http://",
    ),
    (SimpleNamespace(secret_key="a\n[b]"), "contains a line break"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_impossible_arguments_are_refused(
    options: SimpleNamespace, words: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=words):
        create_minio_rclone(str(tmp_path / "minio.conf"), **vars(options))
    assert not list(tmp_path.iterdir())


def test_a_config_with_other_remotes_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rclone.conf"
    path.write_text("[mine]\ntype = s3\n")
    with pytest.raises(
        StorageError, match=r"contains other remotes of rclone \(mine\); name a separate file"
    ):
        create_minio_rclone(str(path))
    assert path.read_text() == "[mine]\ntype = s3\n"


def test_a_file_that_is_not_a_config_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(StorageError, match="is not a config file of rclone; name another"):
        create_minio_rclone(str(path))
    assert path.read_text() == "notes"


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        create_minio_rclone(str(tmp_path / "absent" / "minio.conf"))


def test_an_artifact_has_nothing_of_the_config(tmp_path: Path, server: S3) -> None:
    create_minio_rclone(
        str(tmp_path / "minio.conf"),
        endpoint=server.endpoint,
        access_key=KEYS[0],
        secret_key=KEYS[1],
    )

    @tempo.model("word", local_folder=str(tmp_path / "saved"), uri="s3://tempo/secretless")
    def f() -> str:
        return "word"

    tempo.save(f)
    tempo.upload(f)
    assert answer(server.folder("tempo/secretless")) == "word"
    assert not any(KEYS[1].encode() in each for each in contents(tmp_path / "saved").values())
