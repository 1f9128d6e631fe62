"""Manifests: pure functions from what is deployed to objects of a platform; YAML is the last step."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tempo_runtime.artifact import freshness
from tempo_runtime.deploy.kubernetes.manifests import kserve, seldon, seldon2
from tempo_runtime.deploy.kubernetes.manifests.options import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
)
from tempo_runtime.deploy.kubernetes.manifests.pinning import pin_all
from tempo_runtime.deploy.kubernetes.manifests.spec import resolve_models
from tempo_runtime.deploy.kubernetes.secrets import refuse_written
from tempo_runtime.errors import SettingsError

PLATFORMS = {
    SeldonCoreOptions: seldon,
    Seldon2Options: seldon2,
    KServeOptions: kserve,
}
RemotePlatform = SeldonCoreOptions | Seldon2Options | KServeOptions


def manifest(model: Any, options: RemotePlatform | None = None) -> str:
    """Return the objects that deploy a pipeline and the models it calls, as YAML.

    One document for each, the pipeline's first, in the same order each time. Addresses of its children
    are in them, so that nothing asks the cluster for them.

    Args:
        model: A pipeline (its class, an instance, or its function), a `Model`, or the folder of an
            artifact. Each model that is deployed has a `uri`.
        options: The platform, and how; by default Seldon Core v1.

    Raises:
        ArtifactError: If a folder holds no artifact, or a pipeline has changed since it was saved.
        AuthoringError: If `model` is not a model, or one has no `uri`.
        SettingsError: If settings are wrong, or the platform cannot deploy one of the models.
    """
    freshness.check_uploaded(model)
    return to_yaml(documents(model, options or SeldonCoreOptions()))


def documents(model: Any, options: RemotePlatform) -> list[dict[str, Any]]:
    """Return the same objects as dicts."""
    platform = PLATFORMS.get(type(options))
    if platform is None:
        raise SettingsError(
            f"a manifest takes SeldonCoreOptions, Seldon2Options or KServeOptions, not {options!r:.80}"
        )
    remote = options.remote_options
    models = resolve_models(model, lambda name: remote.of(name).pin_artifact)
    if unknown := sorted(remote.models.keys() - models.keys()):
        raise SettingsError(
            f"options for {', '.join(unknown)}, which is not deployed; there is {', '.join(models)}"
        )
    # Stated for all, it is that of the first, which is the pipeline.
    stated = [(next(iter(models)), remote.uri)]
    stated += [(name, own.uri) for name, own in remote.models.items()]
    for name, uri in stated:
        if uri is not None:
            models[name] = replace(models[name], uri=uri)
    found: list[dict[str, Any]] = platform.documents(models, remote)
    pin_all(found, models, remote)
    refuse_written(found)
    return found


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Objects as YAML documents; text that looks like a number stays text."""
    import yaml

    text: str = yaml.dump_all(
        objects, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100
    )
    return text


# Kubernetes' parser takes `1e3` for a number and `y` for true, where PyYAML does not and leaves
# them as they are.
_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_.:/-]+")


def _dumper() -> Any:
    """PyYAML's, without references: an object that is there twice is written twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        # What is not a letter to one parser is the end of a line to another: escaped.
        quotes = "'" if value.isprintable() else '"'
        style = None if _WORD.fullmatch(value) else quotes
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper
