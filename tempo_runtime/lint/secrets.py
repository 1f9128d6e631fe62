"""Rules about secrets in plain text, and about Secrets with rclone's settings."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from tempo_runtime._util.yaml_document import Document, Place, Run, apart
from tempo_runtime.deploy.kubernetes.secrets import holds_secret, looks_secret
from tempo_runtime.lint.rules import Hits, across, rule
from tempo_runtime.lint.views import OURS, predictors, remote, units

# One of a remote, or of rclone itself.
_VARIABLE = re.compile(r"RCLONE_CONFIG(_[A-Z0-9]+_[A-Z0-9_]+|_DIR|_PASS)?")
# Remotes that the image of the storage initializer needs no settings for.
_FREE = ("gs", "pvc", "http", "https", "hf", "")


def _keys(secret: Document) -> set[str]:
    return {key for which in ("data", "stringData") for key, _ in secret[which].items()}


@rule(
    "secret-written",
    "warning",
    *OURS,
    consequence="Anybody who can read the manifest, or the object, can read the secret; it stays in git.",
    fix="put it into a Secret, and refer to that where the platform accepts one",
)
def written_out(document: Document) -> Hits:
    """No text contains a token, private key or URL with a password; for variables see `env-secret`."""
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
    "secret-data",
    "error",
    "Secret",
    consequence="The API server refuses it.",
    fix="encode it, or put it into stringData as it is",
)
def data(document: Document) -> Hits:
    """What is in `data` is base64, and what is in `stringData` text."""
    if document["sops"]:  # encrypted, to be made base64 again by SOPS
        return
    for _, value in document["data"].items():
        try:
            base64.b64decode("".join(value.text.split()), validate=True)
            good = isinstance(value.value, str) or not value
        except (binascii.Error, ValueError):
            good = False
        if not good:
            yield value, f"{value.path[-1]} is no base64"
    for key, value in document["stringData"].items():
        if not isinstance(value.value, str):
            yield value, f"{key} is no text"


@rule(
    "secret-rclone-key",
    "error",
    "Secret",
    consequence="rclone does not read it, and finds no such remote.",
    fix="RCLONE_CONFIG_S3_TYPE and the like: capitals, the remote, the option",
)
def rclone_key(document: Document) -> Hits:
    """Settings of rclone are named RCLONE_CONFIG_REMOTE_OPTION.

    Source: seldon-core components/rclone-storage-initializer.
    """
    for which in ("data", "stringData"):
        for key, value in document[which].items():
            if key.upper().startswith("RCLONE_CONFIG") and not _VARIABLE.fullmatch(key):
                yield value, f"{key} is no variable of rclone's"


@across(
    "secret-remote",
    "error",
    "SeldonDeployment",
    consequence="The init container cannot fetch the artifact, and the pod does not start.",
    fix="add RCLONE_CONFIG_REMOTE_TYPE and the rest for the remote of modelUri, in the same namespace",
)
def secret_remote(document: Document, run: Run) -> Hits:
    """The Secret of envSecretRefName has the remote of modelUri, and is in the same namespace.

    Source: model_initializer_injector.go:209-217.
    """
    for predictor in predictors(document):
        for unit in units(predictor["graph"]):
            place, name = unit["envSecretRefName"], remote(unit["modelUri"].text)
            found = run.named(place.text, "Secret") if place.text else []
            near = [each for each in found if not apart(each.namespace, document.namespace)]
            wanted = f"RCLONE_CONFIG_{name.upper().replace('-', '_')}_TYPE"
            fetcher = unit["storageInitializerImage"].text or "rclone"
            if found and not near:
                yield place, f"Secret {place.text!r} is in {found[0].namespace}"
            elif (
                near and "rclone" in fetcher and name not in _FREE and wanted not in _keys(near[0])
            ):
                yield place, f"Secret {place.text!r} has no {wanted}"


@across(
    "secret-seldon2",
    "error",
    "Model",
    consequence="The agent finds no settings in it, and cannot fetch the artifact.",
    fix="one key, whose value is JSON or YAML with type, name and parameters of rclone's remote",
)
def seldon2_secret(document: Document, run: Run) -> Hits:
    """The Secret of a Model is not one of variables, which Core v1 takes.

    Source: scheduler/pkg/agent/rclone.
    """
    place = document["spec"]["secretName"]
    for secret in run.named(place.text, "Secret") if place.text else ():
        if _keys(secret) and all(key.startswith("RCLONE_CONFIG_") for key in _keys(secret)):
            yield place, f"Secret {place.text!r} holds RCLONE_CONFIG_* variables"
