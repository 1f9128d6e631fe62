"""Pin a deployed model to the digest of its artifact.

The object has the digest as an annotation, for people and for later deployments, and in the
specification of its pods, so that another digest creates new pods. A pipeline's pod loads only the
artifact with this digest. The fields for this follow from the platforms' sources: operator/controllers/
seldondeployment_controller.go of Seldon Core v1 (createDeploymentWithoutEngine, createDeployments),
scheduler/pkg/store/memory.go and scheduler/pkg/agent/repository/model_repository.go of Seldon Core 2 (a
changed ModelSpec is a new version, which is downloaded again), and
pkg/controller/v1beta1/inferenceservice/components/predictor.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tempo_runtime._util.layers import parse_json
from tempo_runtime.artifact.trust import (
    EXPECTED_DIGEST,
    EXPECTED_DIGEST_SETTING,
    digest_in,
    parse_digests,
)
from tempo_runtime.artifact.verification import CODE_SETTINGS, variable_of
from tempo_runtime.deploy.kubernetes.manifests.annotation import DIGEST
from tempo_runtime.deploy.kubernetes.manifests.options import RemoteOptions
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError

# For models that are not pipelines. Nothing reads them; it only matters that they change.
_INERT_SETTING, _INERT_VARIABLE = "artifact_digest", "TEMPO_RUNTIME_ARTIFACT_DIGEST"


def pin_all(
    documents: Iterable[dict[str, Any]], models: Mapping[str, DeployedModel], options: RemoteOptions
) -> None:
    """Write the known digests of artifacts into the objects that represent their models.

    Args:
        documents: The objects.
        models: The deployed models, by name.
        options: The options.

    Raises:
        SettingsError: If a model's pods would get another artifact, or would have to.
    """
    for model in models.values():
        if model.demanded:
            _refuse_other_place(model)
            _refuse_other_demand(model, options)
    for document in documents:
        named = models.get(document["metadata"]["name"])
        if named is not None and named.digest and document["kind"] in KINDS:
            pin(document, named.digest, named.demanded, _settings_of_code(named))


def pin(
    document: dict[str, Any],
    digest: str,
    demanded: Sequence[str],
    settings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the digest of a model's artifact into its object.

    The user's own variable stays; `pin_all` has checked that it agrees.

    Args:
        document: A SeldonDeployment, Model or InferenceService, as generated here.
        digest: The digest of the model's artifact.
        demanded: The digests that its pods accept; empty if they accept any.
        settings: Variables for settings in its model-settings.json that pods with required digests
            accept only from the environment.
    """
    document["metadata"].setdefault("annotations", {})[DIGEST] = digest
    KINDS[document["kind"]](document["spec"], digest, ",".join(demanded), settings)


def pinned(document: Mapping[str, Any]) -> str:
    """Return the digest that an object names; empty if it names none."""
    return str((document["metadata"].get("annotations") or {}).get(DIGEST, ""))


def demanded_by(document: Mapping[str, Any]) -> list[str]:
    """Return the digests that an object's pods accept; empty if they accept any."""
    kind, spec = document["kind"], document.get("spec")
    if kind == "Model":
        text = _value(_at(spec, "parameters"), EXPECTED_DIGEST_SETTING)
    elif kind == "InferenceService":
        text = _value(_at(spec, "predictor", "model", "env"), EXPECTED_DIGEST)
    else:
        container = ("predictors", 0, "componentSpecs", 0, "spec", "containers", 0)
        text = _value(_at(spec, *container, "env"), EXPECTED_DIGEST)
    return [digest.strip() for digest in text.split(",") if digest.strip()]


def uri_of(document: Mapping[str, Any]) -> str:
    """Return the URI that an object's artifact is downloaded from; empty if it has none."""
    kind, spec = document["kind"], document.get("spec")
    if kind == "Model":
        uri = _at(spec, "storageUri")
    elif kind == "InferenceService":
        uri = _at(spec, "predictor", "model", "storageUri")
    else:
        uri = _at(spec, "predictors", 0, "graph", "modelUri")
    return str(uri or "")


def _settings_of_code(model: DeployedModel) -> dict[str, str]:
    """Return variables for the children's settings that choose code; see `verification`."""
    variables = {}
    for alias, text in model.stated.items():
        child = parse_json(text)
        for name in CODE_SETTINGS:
            if isinstance(child, dict) and child.get(name) is not None:
                variables[variable_of(alias, name)] = str(child[name])
    return variables


def _refuse_other_place(model: DeployedModel) -> None:
    """Refuse a uri with the digest of another artifact than the one on this machine."""
    _, named = digest_in(model.uri)
    if named and named != model.digest:
        raise SettingsError(
            f"{model.name}: its uri {model.uri} names a digest, but the artifact in {model.folder} "
            f"has the digest {model.digest}; download the one at the uri and deploy that folder, or "
            "upload this one and deploy its uri"
        )


def _refuse_other_demand(model: DeployedModel, options: RemoteOptions) -> None:
    """Refuse a digest in `env` with which pods would not accept the artifact on this machine."""
    text = options.of(model.name).env.get(EXPECTED_DIGEST, "")
    digests = parse_digests(text, f"{model.name}: env.{EXPECTED_DIGEST}")
    if digests and model.digest not in digests:
        raise SettingsError(
            f"{model.name}: env.{EXPECTED_DIGEST} requires {' or '.join(digests)}, but the artifact in "
            f"{model.folder} has the digest {model.digest}, so its pods would not start; deploy the "
            "required artifact, correct the variable, or set pin_artifact to false if another artifact "
            f"is at {model.uri}"
        )


def _seldon(spec: dict[str, Any], digest: str, demanded: str, settings: Mapping[str, str]) -> None:
    # Not in the canary's predictor, which has another artifact.
    predictor = spec["predictors"][0]
    [component] = predictor["componentSpecs"]
    # The predictor's own annotations would also go to its Service.
    predictor["componentSpecs"] = [{"metadata": {"annotations": {DIGEST: digest}}, **component}]
    container = component["spec"]["containers"][0]
    _demand(container, demanded, settings)
    if not demanded:
        # Up to 1.15 the operator ignores annotations when it compares specifications of pods.
        _add(container, _INERT_VARIABLE, digest)


def _kserve(spec: dict[str, Any], digest: str, demanded: str, settings: Mapping[str, str]) -> None:
    spec["predictor"] = {"annotations": {DIGEST: digest}, **spec["predictor"]}
    _demand(spec["predictor"]["model"], demanded, settings)


def _seldon2(spec: dict[str, Any], digest: str, demanded: str, _: Mapping[str, str]) -> None:
    setting = (EXPECTED_DIGEST_SETTING, digest) if demanded else (_INERT_SETTING, digest)
    spec.setdefault("parameters", []).append(dict(zip(("name", "value"), setting, strict=True)))


KINDS = {"SeldonDeployment": _seldon, "InferenceService": _kserve, "Model": _seldon2}
"""The kinds of objects that represent models."""


def _demand(container: dict[str, Any], demanded: str, settings: Mapping[str, str]) -> None:
    if demanded:
        _add(container, EXPECTED_DIGEST, demanded)
        for name, value in settings.items():
            _add(container, name, value)


def _add(container: dict[str, Any], name: str, value: str) -> None:
    variables = container.get("env", [])
    if not _value(variables, name):
        added = [*variables, {"name": name, "value": value}]
        container["env"] = sorted(added, key=lambda variable: str(variable["name"]))


def _at(item: Any, *path: str | int) -> Any:
    """Return the value at a path of an object that others may have edited; None if it is missing."""
    for part in path:
        try:
            item = item[part]
        except (KeyError, IndexError, TypeError):
            return None
    return item


def _value(named: Any, name: str) -> str:
    """Return the value for a name in a list of names and values."""
    return next((str(entry.get("value", "")) for entry in named or [] if entry["name"] == name), "")
