"""Options of a deployment on a cluster from a file, and from the command line over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tempo_runtime import KServeOptions, Seldon2Options, SeldonCoreOptions, SettingsError
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform, options_file

WHOLE = """
platform: kserve
namespace: production
service_account_name: s3-reader
replicas: 2
resources:
  requests: {cpu: 0.5, memory: 1e3}
  limits: {memory: 1Gi, nvidia.com/gpu: 1}
env: {LOG_LEVEL: "on", PORT: "8080"}
tolerations: [{key: gpu, operator: Exists}]
models:
  prices: {replicas: 3, spread: yes}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "production.yaml"


def made(file: Path, platform: str | None = None, **stated: Any) -> RemotePlatform:
    read = options_file.read(str(file))
    return options_file.options_of(platform, stated, read, "--set {}".format)


def test_a_file_gives_the_same_options_as_python(file: Path) -> None:
    file.write_text(WHOLE)
    expected = KServeOptions(
        remote_options={
            "namespace": "production",
            "service_account_name": "s3-reader",
            "replicas": 2,
            "resources": {
                "requests": {"cpu": "0.5", "memory": "1000.0"},
                "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"},
            },
            "env": {"LOG_LEVEL": "on", "PORT": "8080"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "models": {"prices": {"replicas": 3, "spread": True}},
        }
    )
    assert made(file) == expected


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_states_nothing(file: Path, text: str) -> None:
    file.write_text(text)
    assert made(file) == SeldonCoreOptions()


@pytest.mark.parametrize("name", ["authSecretName", "auth_secret_name"])
@pytest.mark.parametrize("stated", ["authSecretName", "auth_secret_name"])
def test_the_command_line_takes_precedence_in_either_spelling(
    file: Path, name: str, stated: str
) -> None:
    file.write_text(f"{name}: of-the-file\nnamespace: production\n")
    found = made(file, **{stated: "of-the-command"}).remote_options
    assert (found.auth_secret_name, found.namespace) == ("of-the-command", "production")


def test_the_command_line_chooses_another_platform(file: Path) -> None:
    file.write_text("platform: kserve\nnamespace: production\n")
    assert isinstance(made(file, "seldon2"), Seldon2Options)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("replica: 2", "1: replica: there is no such option; did you mean 'replicas'?"),
        (
            "\nmodels:\n  prices:\n    replica: 2",
            "4: models.prices.replica: there is no such option; did you mean 'replicas'?",
        ),
        (
            "knative: true",
            "1: knative: there is no such option for seldon; it is an option of kserve",
        ),
        ("replicas: no", "1: replicas: Input should be a number, not false"),
        (
            "namespace: no",
            "1: namespace: Input should be a valid string; put it in quotation marks",
        ),
        ("env: {DEBUG: yes}", "1: env.DEBUG: Input should be a valid string; put it in quotation"),
        ("env: {PORT: 8080}", "1: env.PORT: Input should be a valid string; put it in quotation"),
        ("env_from: one", "1: env_from: Input should be a list"),
        ("resources: [1]", "1: resources: Input should be keys with values"),
        ("env: {3: a}", "1: env.3: use letters, digits"),
        ("resources: {limits: {cpu: lots}}", "1: resources.limits.cpu: write a quantity such as"),
        ("replicas: 1.5", "1: replicas: Input should be a valid integer"),
        ("platfrom: kserve", "1: platfrom: there is no such option; did you mean 'platform'?"),
        ("platform: nomad", "1: platform: choose one of seldon, seldon2, kserve"),
        ("platform: [seldon]", "1: platform: choose one of seldon, seldon2, kserve"),
        ("namespace: a\nnamespace: b", "2: there are two keys 'namespace'; correct it"),
        ("minReplicas: 1\nmin_replicas: 2", " minReplicas and min_replicas are the same option"),
        ("min_replicas: 2", " minReplicas is for an autoscaler; set maxReplicas, too"),
        ("- namespace", " must be one YAML document of keys with values"),
        ("production", " must be one YAML document of keys with values"),
        ("a: 1\n---\nb: 2", " must be one YAML document of keys with values"),
        ("namespace: [", "1: while parsing"),
        ("a: &a [*a]", "1: an alias refers to a value that contains it"),
        ("remote_options:\n  namespace: a", " remote_options is not needed in this file; move its"),
        ("apiVersion: v1\nkind: Secret", " is a manifest (Secret), not a file of options"),
        ("env: {HF_TOKEN: abc}", "1: env: "),
    ],
)
def test_an_invalid_option_is_reported_with_its_place(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        made(file)
    message = str(error.value)
    separator = "" if told.startswith((" is", " must")) else ":"
    assert message.startswith(f"{file}{separator}{told}")
    assert "\n" not in message


def test_an_invalid_option_of_the_command_line_is_named_as_such(file: Path) -> None:
    file.write_text("namespace: production\nreplicas: 1\n")
    with pytest.raises(SettingsError, match=r"^--set replicas: Input should be a valid integer"):
        made(file, replicas="many")


def test_a_value_is_never_shown(file: Path) -> None:
    file.write_text("env: [s3cr3t]\nreplicas: s3cr3t\n")
    with pytest.raises(SettingsError) as error:
        made(file)
    assert "s3cr3t" not in f"{error.value}{error.value.__cause__}"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"namespace: \xe4"])
def test_a_file_that_is_not_text_is_reported(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"production\.yaml is not UTF-8; save it as UTF-8"):
        made(file)
