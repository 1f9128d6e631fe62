"""Generate manifests: pure functions from models to a platform's objects, and finally YAML."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tempo_runtime.artifact import freshness
from tempo_runtime.deploy.kubernetes.manifests import kserve, seldon, seldon2, states
from tempo_runtime.deploy.kubernetes.manifests.options import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
)
from tempo_runtime.deploy.kubernetes.manifests.pinning import pin_all
from tempo_runtime.deploy.kubernetes.manifests.spec import resolve_models
from tempo_runtime.deploy.kubernetes.secrets import refuse_secrets_in
from tempo_runtime.errors import SettingsError

PLATFORMS = {
    SeldonCoreOptions: seldon,
    Seldon2Options: seldon2,
    KServeOptions: kserve,
}
RemotePlatform = SeldonCoreOptions | Seldon2Options | KServeOptions


def manifest(model: Any, options: RemotePlatform | None = None) -> str:
    """Return the YAML manifest that deploys a pipeline and the models it calls.

    It has one document for each object, the pipeline's first, always in the same order. The addresses of
    the children are in the documents, so that the cluster need not be asked for them.

    Args:
        model: A pipeline (its class, an instance, or its function), a `Model`, or the folder of an
            artifact. Each deployed model must have a `uri`.
        options: The platform and its options; by default Seldon Core v1.

    Raises:
        ArtifactError: If a folder holds no artifact, or a pipeline has changed since it was saved.
        AuthoringError: If `model` is not a model, or a model has no `uri`.
        SettingsError: If settings are invalid, or the platform cannot deploy one of the models.

    Example:
        >>> from tempo_runtime import Model, ModelFramework, manifest
        >>> forest = Model("forest", platform=ModelFramework.SKLearn, uri="s3://models/forest")
        >>> print(manifest(forest))
        apiVersion: machinelearning.seldon.io/v1
        kind: SeldonDeployment
        metadata:
          name: forest
        ...
    """
    freshness.check_uploaded(model)
    return to_yaml(documents(model, options or SeldonCoreOptions()))


def documents(model: Any, options: RemotePlatform) -> list[dict[str, Any]]:
    """Return the objects of a manifest as dicts."""
    platform = PLATFORMS.get(type(options))
    if platform is None:
        raise SettingsError(
            f"expected SeldonCoreOptions, Seldon2Options or KServeOptions, not {options!r:.80}"
        )
    remote = options.remote_options
    models = resolve_models(model, lambda name: remote.of(name).pin_artifact)
    if unknown := sorted(remote.models.keys() - models.keys()):
        raise SettingsError(
            f"there are options for {', '.join(unknown)}, which is not deployed; the models are "
            f"{', '.join(models)}"
        )
    # A uri for all models is that of the first model, which is the pipeline.
    uris = [(next(iter(models)), remote.uri)]
    uris += [(name, model_options.uri) for name, model_options in remote.models.items()]
    for name, uri in uris:
        if uri is not None:
            models[name] = replace(models[name], uri=uri)
    states.refuse_lost(models, remote)
    objects: list[dict[str, Any]] = platform.documents(models, remote)
    pin_all(objects, models, remote)
    refuse_secrets_in(objects)
    return objects


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Write objects as YAML documents, in which text that looks like a number stays text."""
    import yaml

    text: str = yaml.dump_all(
        objects, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100
    )
    return text


# Kubernetes' parser reads `1e3` as a number and `y` as true. PyYAML does not, so it would not quote
# them.
_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_.:/-]+")


def _dumper() -> Any:
    """Return PyYAML's dumper, changed to write repeated objects in full instead of as references."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        # A character that one parser prints may end a line for another: escape it.
        quotes = "'" if value.isprintable() else '"'
        style = None if _WORD.fullmatch(value) else quotes
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper
