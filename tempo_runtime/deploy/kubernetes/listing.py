"""List the models in a namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tempo_runtime.authoring.details import ModelDetails
from tempo_runtime.deploy.kubernetes.api_errors import ApiCall, absent, check_name
from tempo_runtime.deploy.kubernetes.connection import QUERY_SECONDS, Deadline, connected
from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform
from tempo_runtime.deploy.kubernetes.manifests.pinning import pinned
from tempo_runtime.deploy.kubernetes.members import key_of, listed, members, progress_of
from tempo_runtime.deploy.kubernetes.ownership import parts
from tempo_runtime.deploy.kubernetes.platforms import OURS, details_of, platform_of
from tempo_runtime.deploy.kubernetes.session import Api
from tempo_runtime.deploy.kubernetes.status import Progress


@dataclass(frozen=True)
class Listed:
    """A model in a namespace.

    Attributes:
        details: The model.
        digest: Digest of the artifact that it was deployed with; empty if it is unknown.
        progress: Its progress.
        pipelines: The other models that it was deployed with.
    """

    details: ModelDetails
    digest: str
    progress: Progress
    pipelines: tuple[str, ...]


def overview(options: RemotePlatform) -> list[Listed]:
    """List the models as `list_models` does, with the progress of each.

    Args:
        options: The platform and the namespace.

    Raises:
        DeploymentFailed: If they may not be listed.
    """
    platform, space = platform_of(options), options.remote_options.namespace
    with connected() as connection:
        api = Api(connection, Deadline(QUERY_SECONDS))
        items, _ = api.list(platform.model, space, OURS)
        by_name = {item["metadata"]["name"]: item for item in items}
        progress_by_name = progress_of(api, platform, space, sorted(by_name))
    return [
        Listed(
            details_of(by_name[name]),
            pinned(by_name[name]),
            progress,
            tuple(sorted(parts(by_name[name]) - {name})),
        )
        for name, progress in progress_by_name.items()
    ]


def deployed_names(options: RemotePlatform, among: Sequence[str] = ()) -> dict[str, set[str]]:
    """List the names that `undeploy` accepts: those with which any object in the namespace was deployed.

    An interrupted deployment may have left a Server or a child without the main model.

    Args:
        options: The platform and the namespace.
        among: Names that must all be in the list.

    Returns:
        Each name with the names of the other models that this model was deployed with.

    Raises:
        DeploymentFailed: If one of `among` is missing, or they may not be listed.
    """
    platform, space = platform_of(options), options.remote_options.namespace
    for name in among:
        check_name(name)
    with connected() as connection:
        api = Api(connection, Deadline(QUERY_SECONDS))
        items, _ = api.list(platform.model, space, OURS)
        known = {(name := key_of(item)[1]): parts(item) - {name} for item in items}
        for resource in platform.others:
            items += listed(api, resource, space, OURS)
        for item in items:
            for name in parts(item) or {key_of(item)[1]}:
                known.setdefault(name, set())
        for name in among:
            if name not in known and not members(api, platform, space, name):
                raise absent(ApiCall("get", platform.model, space, name), known)
    return dict(sorted(known.items()))
