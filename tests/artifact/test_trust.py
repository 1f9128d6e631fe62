"""Artifacts that a process demands: by digest, or by who signed them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tempo_runtime import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactUntrusted,
    SettingsError,
    load,
    model,
    save,
)
from tempo_runtime.artifact.description import digest_of
from tempo_runtime.artifact.store import inspect, read_description
from tempo_runtime.artifact.trust import EXPECTED_DIGEST, VERIFY_KEY, TrustPolicy
from tempo_runtime.cli import main
from tempo_runtime.testing import ServerFailed, serve
from tests.helpers import pipelines

Keys = tuple[str, str]


def _keys(folder: Path, algorithm: str = "ed25519") -> Keys:
    private, public = str(folder / f"{algorithm}.pem"), str(folder / f"{algorithm}.pub")
    make = ["openssl", "genpkey", "-algorithm", algorithm, "-out", private]
    subprocess.run(make, check=True, capture_output=True)
    write = ["openssl", "pkey", "-in", private, "-pubout", "-out", public]
    subprocess.run(write, check=True, capture_output=True)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return _keys(tmp_path_factory.mktemp("other"))


@pytest.fixture
def artifact(tmp_path: Path, keys: Keys) -> str:
    return save(pipelines.double, str(tmp_path / "double"), sign=keys[0])


def change(artifact: str, **changes: Any) -> None:
    path = Path(artifact, "tempo.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_signed_artifact_is_loaded_with_the_key_of_its_signer(artifact: str, keys: Keys) -> None:
    assert load(artifact, verify=keys[1])(2) == 4


def test_one_signed_by_another_is_refused(artifact: str, other_keys: Keys) -> None:
    with pytest.raises(ArtifactUntrusted, match=r"is signed by another key than .*ed25519\.pub"):
        load(artifact, verify=other_keys[1])


def test_one_that_is_not_signed_is_refused(tmp_path: Path, keys: Keys) -> None:
    folder = save(pipelines.double, str(tmp_path / "plain"))
    with pytest.raises(ArtifactUntrusted, match=r"is not signed by .*save it with `sign`"):
        load(folder, verify=keys[1])


def test_saving_again_without_a_key_leaves_no_signature(artifact: str, keys: Keys) -> None:
    save(pipelines.double, artifact)
    with pytest.raises(ArtifactUntrusted, match="is not signed"):
        load(artifact, verify=keys[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"files": {}},
        {"signed": "ed25519:AAAA"},
        {"signed": "rsa:AAAA"},
        {"signed": None},
        {"signed": "ed25519:%%%"},
    ],
    ids=str,
)
def test_a_changed_manifest_or_signature_is_refused(
    changes: dict[str, Any], artifact: str, keys: Keys
) -> None:
    change(artifact, **changes)
    with pytest.raises(ArtifactUntrusted):
        load(artifact, verify=keys[1])


def test_a_manifest_that_is_only_written_otherwise_is_still_signed(
    artifact: str, keys: Keys
) -> None:
    path = Path(artifact, "tempo.json")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert load(artifact, verify=keys[1])(2) == 4


def test_a_changed_file_of_a_signed_artifact_is_refused(artifact: str, keys: Keys) -> None:
    Path(artifact, "pipeline.dill").write_bytes(b"other")
    with pytest.raises(ArtifactDamaged):
        load(artifact, verify=keys[1])


def test_a_signature_does_not_change_the_digest(artifact: str) -> None:
    before = inspect(artifact).digest
    save(pipelines.double, artifact)
    assert inspect(artifact).digest == before


def test_the_digest_that_is_demanded_is_loaded_and_another_is_not(
    artifact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"sha256:{'0' * 64}"
    monkeypatch.setenv(EXPECTED_DIGEST, f"{wrong}, {inspect(artifact).digest}")
    assert load(artifact)(2) == 4
    monkeypatch.setenv(EXPECTED_DIGEST, wrong)
    with pytest.raises(ArtifactUntrusted, match=f"demands {wrong}; deploy that artifact"):
        load(artifact)


def test_the_signer_can_be_demanded_by_the_environment(
    artifact: str, keys: Keys, other_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VERIFY_KEY, f"{other_keys[1]},{keys[1]}")
    assert load(artifact)(2) == 4
    monkeypatch.setenv(VERIFY_KEY, other_keys[1])
    with pytest.raises(ArtifactUntrusted):
        load(artifact)


@pytest.mark.parametrize("digest", ["abc", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "G" * 64])
def test_an_invalid_digest_is_refused(digest: str) -> None:
    with pytest.raises(SettingsError, match="a digest is sha256: and 64 digits"):
        TrustPolicy.of_environment({EXPECTED_DIGEST: digest})
    with pytest.raises(SettingsError, match=r"parameters\.extra\.expected_digest has"):
        TrustPolicy.of_settings({"expected_digest": digest})


def test_a_server_refuses_what_is_not_demanded(artifact: str) -> None:
    wrong = f"sha256:{'0' * 64}"
    with (
        pytest.raises(ServerFailed, match="has the digest"),
        serve(artifact, env={EXPECTED_DIGEST: wrong}),
    ):
        pass
    with serve(artifact, env={EXPECTED_DIGEST: inspect(artifact).digest}) as server:
        assert server.infer("double", x=2.0) == 4.0


def test_a_server_demands_a_digest_of_one_model_by_its_settings(artifact: str) -> None:
    wrong = f"sha256:{'0' * 64}"
    demand(artifact, wrong)
    with (
        pytest.raises(ServerFailed, match=rf"parameters\.extra\.expected_digest demands {wrong}"),
        serve(artifact),
    ):
        pass
    demand(artifact, f"{wrong},{inspect(artifact).digest}")
    with serve(artifact) as server:
        assert server.infer("double", x=2.0) == 4.0


def test_demands_of_the_settings_take_nothing_from_demands_of_the_environment(
    artifact: str,
) -> None:
    demand(artifact, inspect(artifact).digest)
    wrong = f"sha256:{'0' * 64}"
    with (
        pytest.raises(ServerFailed, match=f"TEMPO_RUNTIME_EXPECTED_DIGEST demands {wrong}"),
        serve(artifact, env={EXPECTED_DIGEST: wrong}),
    ):
        pass


def demand(artifact: str, digest: str) -> None:
    """Has model-settings.json demand a digest, as Seldon Core 2's agent writes it."""
    path = Path(artifact, "model-settings.json")
    settings = json.loads(path.read_text())
    settings["parameters"]["extra"] = {"expected_digest": digest}
    path.write_text(json.dumps(settings))


def test_another_artifact_than_demanded_is_refused_with_both_digests_and_the_remedy(
    tmp_path: Path,
) -> None:
    @model("shop", uri="s3://tempo/shop", local_folder=str(tmp_path))
    def shop() -> int:
        return 1

    wrong, description = f"sha256:{'0' * 64}", read_description(save(shop))
    with pytest.raises(ArtifactUntrusted) as refused:
        TrustPolicy((wrong,)).check("/mnt/models", description)
    assert str(refused.value) == (
        f"/mnt/models has the digest {description.digest}, but "
        f"TEMPO_RUNTIME_EXPECTED_DIGEST demands {wrong}; deploy that artifact (`tempo-runtime upload "
        "FOLDER` puts it at s3://tempo/shop), or demand this digest if you trust it"
    )


def test_unusable_keys_are_refused(tmp_path: Path, keys: Keys, artifact: str) -> None:
    rsa = _keys(tmp_path, "rsa")
    with pytest.raises(ArtifactError, match="is not an Ed25519 key; `openssl genpkey"):
        save(pipelines.double, artifact, sign=rsa[0])
    with pytest.raises(ArtifactError, match="is not an Ed25519 public key; `openssl pkey"):
        load(artifact, verify=rsa[1])
    with pytest.raises(ArtifactError, match="holds no private key"):
        save(pipelines.double, artifact, sign=keys[1])
    with pytest.raises(ArtifactError, match="holds no public key"):
        load(artifact, verify=keys[0])
    with pytest.raises(ArtifactError, match=r"the key nowhere\.pem cannot be read: No such file"):
        save(pipelines.double, artifact, sign="nowhere.pem")
    assert load(artifact, verify=keys[1])(2) == 4  # as it was


def test_the_command_line_shows_digest_signature_and_imports(artifact: str, keys: Keys) -> None:
    told = CliRunner().invoke(main, ["inspect", artifact, "--json"])
    found = json.loads(told.output)
    assert found["digest"] == digest_of(json.loads(Path(artifact, "tempo.json").read_text()))
    assert found["imports"] == ["tests.helpers.pipelines.double"]
    assert found["bytes"] > 100
    shown = CliRunner().invoke(
        main, ["inspect", artifact, "--verify", keys[1]], env={"COLUMNS": "200"}
    )
    assert shown.exit_code == 0
    assert found["digest"] in shown.output
    assert "the signature matches the key" in shown.output


def test_the_command_line_fails_for_another_signer(artifact: str, other_keys: Keys) -> None:
    shown = CliRunner().invoke(main, ["inspect", artifact, "--verify", other_keys[1]])
    assert shown.exit_code == 1
    assert "is signed by another key" in shown.output
