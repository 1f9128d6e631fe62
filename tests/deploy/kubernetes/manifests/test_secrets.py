"""Values that look like secrets are not written into a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempo_runtime import (
    KServeOptions,
    Model,
    ModelFramework,
    PipelineModels,
    Seldon2Options,
    SeldonCoreOptions,
    SettingsError,
    manifest,
    pipeline,
    predictmethod,
    save,
)
from tempo_runtime.deploy.kubernetes.manifests.options import ModelOptions
from tempo_runtime.deploy.kubernetes.secrets import looks_secret

SECRETS = {
    "DB_PASSWORD": "hunter2",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "HF_TOKEN": "hunter2",
    "api-key": "hunter2",
    "RCLONE_CONFIG_S3_PASSWORD": "hunter2",
    "TEMPO_RUNTIME_PROXY": "http://me:hunter2@proxy:3128",
    "TEMPO_RUNTIME_MODELS": '{"sklearn": {"headers": {"Authorization": "hunter2"}}}',
    "TEMPO_RUNTIME_MODELS__SKLEARN": '{"headers": "{\\"x-api-key\\": \\"hunter2\\"}"}',
    "TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS__AUTHORIZATION": "hunter2",
    "HEADERS": "Bearer hunter2",
    "DB_CREDENTIAL": "hunter2",
    "DB_PASSWORDS": "hunter2",
    "APITOKEN": "hunter2",
    "MYSECRET": "hunter2",
    "SIGNING_KEY": "hunter2",
    "DATABASE": "postgres://$(USER):hunter2@db",
    "JDBC": "jdbc:postgresql://db/shop?user=me&password=hunter2",
    "DB_PASS": "hunter2",
    "DB_PASS_PROD": "hunter2",
    "DB_PWD": "hunter2",
    "PGPASS": "hunter2",
    "PASS": "hunter2",
    "GIT_CREDS": "me:hunter2",
    "AZURE_STORAGE_CONNECTION_STRING": "hunter2",
    "STORAGE": "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=hunter2==",
    "QUEUE": "Endpoint=sb://q/;SharedAccessKeyName=me;SharedAccessKey=hunter2=",
    "BLOBS": "BlobEndpoint=https://b/;SharedAccessSignature=hunter2",
    "BLOB_URL": "https://me.blob.core.windows.net/b?sv=2023&sig=hunter2",
    "CERTIFICATE": "-----BEGIN RSA PRIVATE KEY-----\nhunter2",
    "API_TOKEN": "hunter2",
    "API_TOKEN_PROD": "hunter2",
    "ACCESS_KEY_OLD": "hunter2",
    "SECRET_KEY": "hunter2",
    "TOKEN_SECRET": "hunter2",
    "STORAGE_KEY1": "hunter2",
    "SHOP_PASSWORD": "48151623",
    "SHOP_SECRET_2": "48151623",
    "TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS": '{"x-session": "hunter2"}',
    "TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS__X_SESSION": "hunter2",
    "TEMPO_RUNTIME_MODELS__A": '{"headers": {"cookie": "id=hunter2"}}',
    "HTTPS_PROXY": "http://hunter2@proxy:3128",
    "http_proxy": "me:hunter2@proxy:3128",
    "ALL_PROXY": "socks5://me:hunter2@proxy:1080",
    "PIP_INDEX_URL": "https://hunter2@packages.example/simple",
    "REPOSITORY": "git+https://hunter2@github.com/a/b",
    "BROKER": "amqps://me:hunter2@queue:5671/%2F",
    "SENTRY": "https://hunter2@o1.ingest.sentry.io/1",
    "A1": "ghp_hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A2": "github_pat_11hunter2_aaaaaaaaaaaaaaaaaaaaaa",
    "A3": "gho_hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A4": "ghs_hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A5": "glpat-hunter2aaaaaaaaaaaaa",
    "A6": "sk-hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A7": "sk-proj-hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "A8": "sk-ant-api03-hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "B1": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
    "B2": "see eyJhbGciOiJIUzI1NiJ9hunter2",
    "B3": "AKIAHUNTER2EXAMPLE00",
    "B4": "ASIAHUNTER2EXAMPLE00",
    "B5": "xoxb-123456789012-hunter2",
    "B6": "xoxp-hunter2-123456",
    "B7": "https://hooks.slack.com/services/T0/B0/hunter2",
    "B8": "AIzahunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "B9": "hf_hunter2aaaaaaaaaaaaaaaaaaaaaaaaa",
    "C1": "-----BEGIN PRIVATE KEY-----\nhunter2",
    "C2": "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2",
    "C3": "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCmh1bnRlcjI=",
    "C4": "Basic bWU6aHVudGVyMg==",
    "C5": '{"password": "hunter2"}',
    "REGISTRY_AUTH": "me:hunter2",
    "PARTITION_KEY": "hunter2Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50==",
    "LICENSE_KEY": "/hunter2",
}
PLAIN = {
    "TOKENIZERS_PARALLELISM": "false",
    "KEYBOARD": "us",
    "TEMPO_RUNTIME_FORWARD_HEADERS": "authorization,x-token",
    "TEMPO_RUNTIME_MODELS": '{"sklearn": {"headers": {"seldon-model": "m"}}}',
    "MLSERVER_PARALLEL_WORKERS": "0",
    "TEMPO_RUNTIME_VERIFY_KEY": "/etc/keys/public.pem",
    "TEMPO_RUNTIME_TLS__KEY": "/certs/tls.key",
    "TEMPO_RUNTIME_MODELS__SKLEARN__TLS__KEY": "/certs/tls.key",
    "TOKEN_FILE": "/var/run/token",
    "TEMPO_RUNTIME_BASE_URL": "http://models:8080",
    "HF_TOKEN": "",
    "API_TOKEN": "$(TOKEN_OF_A_SECRET)",
    "DATABASE": "postgres://$(USER):$(PASSWORD)@db",
    "AWS_ACCESS_KEY_ID": "me",
    "SECRET_NAME": "minio",
    "PASSWORD_FILE": "/run/secrets/password",
    "MAX_TOKEN_LENGTH": "long",
    "CACHE_KEY_PREFIX": "shop",
    "MAX_TOKEN": "512",
    "DEFAULT_KEY": "-1.5",
    "PASSWORD_MIN_LENGTH": "8",
    "USE_PASSWORD": "True",
    "BYPASS": "90",
    "COMPASS": "north",
    "LOW_PASSBAND": "a",
    "PWD": "/opt/mlserver",
    "CONFIG": "design=new",
    "STORAGE": "AccountName=me;AccountKey=$(KEY_OF_A_SECRET)",
    "RAY_TLS_SERVER_KEY": "/etc/ray/tls.pem",
    "SSL_KEY": "./certs/server.key",
    "DB_PASSWORD": "/run/secrets/db",
    "SIGNING_KEY": "file:///var/keys/signing",
    "SSH_KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE me@here",
    "SIGNER_KEY": "-----BEGIN PUBLIC KEY-----\nMCow",
    "JWT_PUBLIC_KEY": "MCowBQYDK2VwAyEA",
    "EOS_TOKEN": "</s>",
    "LLM": '{"max_token": 512, "eos_token": "</s>", "token": null}',
    "PRIMARY_KEY": "customer_id",
    "PARTITION_KEY": "day",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "NO_PROXY": "localhost,.svc,10.0.0.0/8",
    "http_proxy": "http://$(PROXY_USER):$(PROXY_PASSWORD)@proxy:3128",
    "PIP_INDEX_URL": "https://$(INDEX_TOKEN)@packages.example/simple",
    "MODEL_URI": "s3://models/check@sha256:5ac6a1b2",
    "REPOSITORY": "git+ssh://git@github.com/a/b.git",
    "DATABASE_OF": "postgres://reader@db:5432/shop",
    "CONTACT": "https://example.com/team, me@example.com",
    "IMAGE": "registry.example:5000/shop@sha256:5ac6",
    "FRAMEWORK": "sk-learn-model-server",
    "TASK": "task-abcdefgh1234567890",
    "PREFIX": "ghp_",
    "NAMES": "AKIA,ASIA,xoxb",
    "ENCODED": "eyJ0aHJlc2hvbGQiOiAwLjV9",
    "ENABLE_AUTH": "true",
    "AUTH": "oauth2",
    "AUTH_URL": "https://login.example/oauth2",
    "CERTIFICATE": "-----BEGIN CERTIFICATE-----\nMIIB",
    "SCHEME": "basic authentication",
    "TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS": '{"seldon-model": "m", "host": "a.example"}',
    "TEMPO_RUNTIME_MODELS__SKLEARN__HEADERS__HOST": "a.example",
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("of_one", [False, True], ids=["of all", "of one model"])
def test_a_secret_is_refused_and_not_shown(name: str, of_one: bool) -> None:
    env = {"env": {"N": "1", name: SECRETS[name]}}
    with pytest.raises(SettingsError, match=f"{name} looks like a secret.*env_from") as error:
        SeldonCoreOptions(remote_options={"models": {"m": env}} if of_one else env)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_that_only_sounds_like_a_secret_is_accepted(name: str) -> None:
    assert ModelOptions(env={name: PLAIN[name]}).env == {name: PLAIN[name]}


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])), st.text())
def test_any_name_and_value_is_checked(name: str, value: str) -> None:
    assert looks_secret(name, value) in (True, False)


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8}){0,3}(\.[a-z]{2,8}){0,2}(:[0-9]{2,5})?", fullmatch=True),
    st.from_regex(r"((/[a-z0-9_.-]{1,8}){1,4}(@sha256:[0-9a-f]{8})?)?", fullmatch=True),
    st.sampled_from(["http", "https", "grpc", "s3", "gs", "postgres"]),
)
def test_no_url_without_a_user_is_a_secret(host: str, path: str, scheme: str) -> None:
    assert not looks_secret("WHERE", f"{scheme}://{host}{path}")


@settings(deadline=None)
@given(
    st.from_regex(r"[a-z0-9%._~-]{0,8}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9%._~!-]{1,12}", fullmatch=True),
    st.sampled_from(["http", "https", "grpc", "ftp", "postgres", "redis", "amqp"]),
)
def test_every_url_with_a_password_is_a_secret(user: str, password: str, scheme: str) -> None:
    assert looks_secret("WHERE", f"see {scheme}://{user}:{password}@host:1/path, please")
    assert looks_secret("WHERE", f"https://{user}{password}@host")


_WRITTEN = {
    "uri": "https://me:hunter2@models.example/plus",
    "image": "https://me:hunter2@registry.example/plus",
    "annotations": {"team/note": "token ghp_hunter2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
}


@pytest.mark.parametrize(
    ("platform", "option"),
    [
        *((SeldonCoreOptions, option) for option in _WRITTEN),
        *((KServeOptions, option) for option in _WRITTEN),
        *((Seldon2Options, option) for option in ("uri", "annotations")),
    ],
)
def test_a_secret_is_written_nowhere_in_a_manifest(platform: Any, option: str) -> None:
    model = Model("plus", platform=ModelFramework.SKLearn, uri="s3://models/plus")
    with pytest.raises(SettingsError, match="looks like a secret") as error:
        manifest(model, platform(remote_options={option: _WRITTEN[option]}))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("platform", [SeldonCoreOptions, Seldon2Options, KServeOptions])
def test_headers_in_the_settings_of_an_artifact_stay_out_of_a_manifest(
    platform: Any, tmp_path: Path
) -> None:
    """Seldon Core 2 has no other place for settings of children: they are parameters there."""
    line = Model("line", platform=ModelFramework.SKLearn, uri="s3://models/line")

    @pipeline("shop", uri="s3://models/shop", models=PipelineModels(line=line))
    class Shop:
        @predictmethod
        def predict(self, x: int) -> int:
            return x

    folder = save(Shop, str(tmp_path / "shop"))
    path = Path(folder, "model-settings.json")
    content = json.loads(path.read_text())
    content["parameters"]["extra"] = {"models": {"line": {"headers": {"x-session": "hunter2"}}}}
    path.write_text(json.dumps(content))
    try:
        text = manifest(folder, platform())
    except SettingsError as error:
        text = str(error)
        assert "name that in env_from" in text
    assert "hunter2" not in text
