"""What looks like a secret is not written into a manifest."""

from __future__ import annotations

import pytest

from tempo_runtime import SeldonCoreOptions, SettingsError
from tempo_runtime.deploy.manifests.options import ModelOptions

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
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("of_one", [False, True], ids=["of all", "of one model"])
def test_a_secret_is_refused_and_not_told(name: str, of_one: bool) -> None:
    env = {"env": {"N": "1", name: SECRETS[name]}}
    with pytest.raises(SettingsError, match=f"{name} looks like a secret.*env_from") as error:
        SeldonCoreOptions(remote_options={"models": {"m": env}} if of_one else env)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", PLAIN)
def test_what_only_sounds_like_a_secret_is_taken(name: str) -> None:
    assert ModelOptions(env={name: PLAIN[name]}).env == {name: PLAIN[name]}
