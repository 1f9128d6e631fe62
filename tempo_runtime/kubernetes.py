"""Deploy pipelines on Kubernetes, and manage these deployments.

    from tempo_runtime import SeldonCoreOptions
    from tempo_runtime.kubernetes import deploy_remote, logs, status

Each function takes options that name the platform and the namespace, by default Seldon Core v1 and the
namespace `default`. `tempo-runtime kubernetes` does the same from a shell.

The classes are the types of options. A dict works as well, but type checkers know the classes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "deploy": (
        "deploy_remote",
        "diff",
        "get_client",
        "list_models",
        "logs",
        "status",
        "undeploy",
        "wait",
    ),
    "manifests.options": (
        "Canary",
        "KServeRemote",
        "Logger",
        "ModelOptions",
        "Probe",
        "Resources",
        "Seldon2Remote",
        "SeldonRemote",
        "Toleration",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.deploy import deploy_remote as deploy_remote
    from tempo_runtime.deploy.kubernetes.deploy import diff as diff
    from tempo_runtime.deploy.kubernetes.deploy import get_client as get_client
    from tempo_runtime.deploy.kubernetes.deploy import list_models as list_models
    from tempo_runtime.deploy.kubernetes.deploy import logs as logs
    from tempo_runtime.deploy.kubernetes.deploy import status as status
    from tempo_runtime.deploy.kubernetes.deploy import undeploy as undeploy
    from tempo_runtime.deploy.kubernetes.deploy import wait as wait
    from tempo_runtime.deploy.kubernetes.manifests.options import Canary as Canary
    from tempo_runtime.deploy.kubernetes.manifests.options import KServeRemote as KServeRemote
    from tempo_runtime.deploy.kubernetes.manifests.options import Logger as Logger
    from tempo_runtime.deploy.kubernetes.manifests.options import ModelOptions as ModelOptions
    from tempo_runtime.deploy.kubernetes.manifests.options import Probe as Probe
    from tempo_runtime.deploy.kubernetes.manifests.options import Resources as Resources
    from tempo_runtime.deploy.kubernetes.manifests.options import Seldon2Remote as Seldon2Remote
    from tempo_runtime.deploy.kubernetes.manifests.options import SeldonRemote as SeldonRemote
    from tempo_runtime.deploy.kubernetes.manifests.options import Toleration as Toleration
else:  # a type checker would take any name for one that this function knows

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"tempo_runtime.deploy.kubernetes.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
