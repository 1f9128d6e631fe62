"""Refuse replicas that would each have a state of their own."""

from __future__ import annotations

from collections.abc import Mapping

from tempo_runtime.deploy.kubernetes.manifests.options import (
    ModelOptions,
    RemoteOptions,
    Seldon2Remote,
    SeldonRemote,
)
from tempo_runtime.deploy.kubernetes.manifests.spec import DeployedModel
from tempo_runtime.errors import SettingsError
from tempo_runtime.settings import ENV_PREFIX

URL = f"{ENV_PREFIX}STATE__URL"
_AS_JSON = f"{ENV_PREFIX}STATE"


def refuse_lost(models: Mapping[str, DeployedModel], options: RemoteOptions) -> None:
    """Refuse several pods of a pipeline whose state is in the memory of its process.

    A state is taken to be in Redis if a variable or a Secret of the options may say where that is.

    Args:
        models: The deployed models, the pipeline first.
        options: The options.

    Raises:
        SettingsError: If a pipeline would lose updates of its state.
    """
    has_canary = isinstance(options, SeldonRemote) and options.canary is not None
    for number, (name, model) in enumerate(models.items()):
        model_options = options.of(name)
        if not model.in_memory or _may_have_url(model_options, options):
            continue
        pods = model_options.max_replicas or model_options.replicas
        if number == 0 and has_canary:
            pods += 1
        if pods > 1:
            raise SettingsError(
                f"{name}: the state of pipeline {', '.join(map(repr, model.in_memory))} is in the memory "
                f"of one process, and each of {pods} pods would have another; set {URL} to a Redis in "
                f'env, or from a Secret: env_secrets={{"{URL}": "redis/url"}}'
            )


def _may_have_url(model_options: ModelOptions, options: RemoteOptions) -> bool:
    known = {*model_options.env, *model_options.env_secrets}
    is_elsewhere = isinstance(options, Seldon2Remote) and options.server is not None
    return bool(known & {URL, _AS_JSON} or model_options.env_from or is_elsewhere)
