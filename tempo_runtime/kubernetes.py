"""Deploy pipelines on Kubernetes, and look after what is deployed.

    from tempo_runtime import SeldonCoreOptions
    from tempo_runtime.kubernetes import deploy_remote, logs, status

Each function takes the options that say where it is deployed, by default Seldon Core v1 and the namespace
`default`. `tempo-runtime kubernetes` does the same from a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.deploy import (
        deploy_remote,
        diff,
        get_client,
        list_models,
        logs,
        status,
        undeploy,
        wait,
    )

__all__ = [
    "deploy_remote",
    "diff",
    "get_client",
    "list_models",
    "logs",
    "status",
    "undeploy",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tempo_runtime.deploy.kubernetes import deploy

    return getattr(deploy, name)


def __dir__() -> list[str]:
    return list(__all__)
