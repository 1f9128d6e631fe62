"""Manifests: pure functions from what is deployed to objects of a platform; YAML is the last step."""

from __future__ import annotations

from typing import Any

from tempo_runtime.deploy.manifests import kserve, seldon, seldon2
from tempo_runtime.deploy.manifests.options import (
    KServeOptions,
    Seldon2Options,
    SeldonCoreOptions,
)
from tempo_runtime.deploy.manifests.spec import specified
from tempo_runtime.errors import SettingsError, TempoError

PLATFORMS = {
    SeldonCoreOptions: seldon,
    Seldon2Options: seldon2,
    KServeOptions: kserve,
}
RemotePlatform = SeldonCoreOptions | Seldon2Options | KServeOptions


def manifest(model: Any, options: RemotePlatform | None = None) -> str:
    """The objects that deploy a pipeline and the models it calls, as YAML.

    One document for each, the pipeline's first, in the same order each time. Addresses of its children
    are in them, so that nothing asks the cluster for them.

    Args:
        model: A pipeline (its class, an instance, or its function), a `Model`, or the folder of an
            artefact. Each model that is deployed has a `uri`.
        options: The platform, and how; by default Seldon Core v1.

    Raises:
        ArtifactError: If a folder holds no artefact.
        AuthoringError: If `model` is no model, or one has no `uri`.
        SettingsError: If settings are wrong, or the platform cannot deploy one of the models.
    """
    return to_yaml(documents(model, options or SeldonCoreOptions()))


def documents(model: Any, options: RemotePlatform) -> list[dict[str, Any]]:
    """The same objects as dicts."""
    platform = PLATFORMS.get(type(options))
    if platform is None:
        raise SettingsError(
            f"a manifest takes SeldonCoreOptions, Seldon2Options or KServeOptions, not {options!r:.80}"
        )
    found: list[dict[str, Any]] = platform.documents(specified(model), options.remote_options)
    return found


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Objects as YAML documents; text that looks like a number stays text.

    Raises:
        TempoError: If PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise TempoError(
            "manifests need the package PyYAML: pip install 'tempo_runtime[k8s]'"
        ) from error
    text: str = yaml.dump_all(
        objects, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _dumper() -> Any:
    """PyYAML's, without references: an object that is there twice is written twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper
