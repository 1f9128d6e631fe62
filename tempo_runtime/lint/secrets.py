"""Rules about secrets in plain text, and about Secrets with settings of rclone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tempo_runtime._util.yaml_document import Document, Place, Run, differ
from tempo_runtime.deploy.kubernetes.secrets import holds_secret, looks_secret
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import OURS, predictors, remote, units

# A setting of a remote, or of rclone itself.
_VARIABLE = re.compile(r"RCLONE_CONFIG(_[A-Z0-9]+_[A-Z0-9_]+|_DIR|_PASS)?")
# Remotes for which the storage initializer needs no settings.
_FREE = ("gs", "pvc", "http", "https", "hf", "")


def _keys(secret: Document) -> set[str]:
    return {key for which in ("data", "stringData") for key, _ in secret[which].items()}


@rule(
    "secret-written",
    "warning",
    *OURS,
    consequence="Anybody who can read the manifest or the object can read it, and it stays in git.",
    fix="put it into a Secret, and refer to the Secret where the platform allows it",
)
def written_out(document: Document) -> Hits:
    """No text contains a token, a private key or a URL with a password; variables: see `env-secret`."""
    for name, place in _texts(document.root, ""):
        if holds_secret(place.text) or (name and looks_secret(name, place.text)):
            yield place, "it contains a password, a token or a key"


def _texts(place: Place, name: str) -> Iterator[tuple[str, Place]]:
    """Yield the texts in a place, except variables, each with its parameter's name if it has one."""
    if place.text:
        yield name, place
    for key, inner in place.items():
        if key != "env":
            yield from _texts(inner, place["name"].text if key == "value" else "")
    for item in place:
        yield from _texts(item, "")


@rule(
    "secret-rclone-key",
    "error",
    "Secret",
    consequence="rclone ignores it, and does not know the remote.",
    fix="use capitals, the remote and the option: RCLONE_CONFIG_S3_TYPE",
)
def rclone_key(document: Document) -> Hits:
    """Settings of rclone are named RCLONE_CONFIG_REMOTE_OPTION.

    Source: seldon-core components/rclone-storage-initializer.
    """
    for which in ("data", "stringData"):
        for key, value in document[which].items():
            if key.upper().startswith("RCLONE_CONFIG") and not _VARIABLE.fullmatch(key):
                yield value, f"{key} is not a variable of rclone"


@across(
    "secret-remote",
    "error",
    "SeldonDeployment",
    consequence="The init container cannot fetch the artifact, and the pod does not start.",
    fix="add RCLONE_CONFIG_REMOTE_TYPE and so on for the remote in modelUri, in the same namespace",
)
def secret_remote(document: Document, run: Run) -> Hits:
    """The Secret in envSecretRefName has the remote in modelUri, and is in the same namespace.

    Source: model_initializer_injector.go:209-217.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            place, name = unit["envSecretRefName"], remote(unit["modelUri"].text)
            secrets = run.named(place.text, "Secret") if place.text else []
            near = [
                secret for secret in secrets if not differ(secret.namespace, document.namespace)
            ]
            variable = f"RCLONE_CONFIG_{name.upper().replace('-', '_')}_TYPE"
            fetcher = unit["storageInitializerImage"].text or "rclone"
            by_rclone = "rclone" in fetcher and name not in _FREE
            if secrets and not near:
                yield place, f"Secret {place.text!r} is in {secrets[0].namespace}"
            elif near and by_rclone and variable not in _keys(near[0]):
                yield place, f"Secret {place.text!r} has no {variable}"


@across(
    "secret-seldon2",
    "error",
    "Model",
    consequence="The agent finds no settings in it, and cannot fetch the artifact.",
    fix="write one key, whose value is JSON or YAML with type, name and parameters of the remote",
)
def seldon2_secret(document: Document, run: Run) -> Hits:
    """The Secret of a Model does not contain variables, which are for Core v1.

    Source: scheduler/pkg/agent/rclone.
    """
    place = document["spec"]["secretName"]
    for secret in run.named(place.text, "Secret") if place.text else ():
        if _keys(secret) and all(key.startswith("RCLONE_CONFIG_") for key in _keys(secret)):
            yield place, f"Secret {place.text!r} contains RCLONE_CONFIG_* variables"
