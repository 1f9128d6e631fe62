"""Causes that keep a model from being ready on Seldon Core 2, and the messages about them.

The texts are those of scheduler/pkg/scheduler/scheduler.go, scheduler/pkg/agent and MLServer's gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tempo_runtime import DeploymentFailed, Seldon2Options, deploy_remote
from tempo_runtime.deploy.kubernetes import deploy
from tests.deploy.kubernetes.api_server import ApiServer
from tests.deploy.kubernetes.conftest import plus
from tests.deploy.kubernetes.core2 import Core2

SERVER = "tempo-runtime"

_RPC = "rpc error: code = Internal desc = "
DIGEST = (
    "tempo_runtime.errors.ArtifactUntrusted: the artifact in /mnt/agent/models/plus_1 has the digest "
    f"sha256:{'a' * 64}, but expected_digest demands sha256:{'b' * 64}"
)


@dataclass(frozen=True)
class Cause:
    """A cause.

    Attributes:
        why: What the agent says of the model that it cannot load; empty for one that it never gets.
        told: What the message must contain.
        final: Whether only a change helps, so that it is reported at once.
        container: Status of the container `mlserver` of the Server's pods.
        pod: More of the status of the Server's pods.
        options: Options of the deployment.
    """

    why: str
    told: tuple[str, ...]
    final: bool = True
    container: Mapping[str, Any] | None = None
    pod: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def _crashed(reason: str, code: int) -> dict[str, Any]:
    ended = {"terminated": {"reason": reason, "exitCode": code}}
    return {**_waiting("CrashLoopBackOff"), "lastState": ended, "restartCount": 3}


SECRET = {"authSecretName": "minio-secret"}
CAUSES = {
    "constructor": Cause(f"{_RPC}builtins.RuntimeError: no vocabulary", ("no vocabulary",)),
    "package": Cause(
        f"{_RPC}builtins.ModuleNotFoundError: No module named 'alibi'", ("No module named 'alibi'",)
    ),
    "digest": Cause(
        f"{_RPC}{DIGEST}", ("the artifact at s3://models/plus has the digest", "upload")
    ),
    "python": Cause(
        f"{_RPC}tempo_runtime.errors.ArtifactError: it was saved by Python 3.12, and this is Python 3.10",
        ("it was saved by Python 3.12",),
    ),
    "broken-file": Cause(
        f"{_RPC}_pickle.UnpicklingError: pickle data was truncated", ("truncated",)
    ),
    "secret-of-v1": Cause(
        "Secret does not have 1 key minio-secret",
        (
            "auth_secret_name: the Secret minio-secret must have the form",
            "k8s/rbac/secret-seldon2.yaml",
        ),
        options=SECRET,
    ),
    "secret-missing": Cause(
        'secrets "minio-secret" not found',
        ("create the Secret in the namespace of the Model, or correct auth_secret_name",),
        options=SECRET,
    ),
    "secret-of-another-scheme": Cause(
        "name from URI (s3) does not match secret (gs); are you using the right storage config?",
        ("auth_secret_name: the name in the Secret minio-secret must be the scheme of the uri",),
        options=SECRET,
    ),
    "keys-or-bucket": Cause(
        "failed to sync/copy s3://models/plus to /mnt/agent/rclone/1: Failed rclone request to "
        "host:0.0.0.0 port:5572 path:/sync/copy",
        (
            "check that it was uploaded to its uri",
            "auth_secret_name gives access to it",
            "container rclone",
        ),
    ),
    "nothing-there": Cause(
        "Failed to download from s3://models/plus any files",
        ("check that it was uploaded to its uri",),
    ),
    "no-artifact": Cause(
        "Failed to find an mlserver model-settings.json file for model in /mnt/agent/rclone/1 for plus_1",
        ("Failed to find an mlserver model-settings.json file",),
    ),
    "server-not-there": Cause(
        "",
        ("ScheduleFailed", "check that Server own exists and is ready, or correct server"),
        final=False,
        options={"server": "own"},
    ),
    "image": Cause(
        "",
        ("image registry/no:1 cannot be pulled (ImagePullBackOff", "correct image"),
        container={
            "image": "registry/no:1",
            **_waiting("ImagePullBackOff", "ErrImagePull: not found"),
        },
    ),
    "crash": Cause("", ("container mlserver end", " with 1"), container=_crashed("Error", 1)),
    "memory": Cause("", ("OOMKilled", "raise memory"), container=_crashed("OOMKilled", 137)),
    "variables": Cause(
        "",
        ('CreateContainerConfigError: secret "database" not found',),
        final=False,
        container=_waiting("CreateContainerConfigError", 'secret "database" not found'),
    ),
    "no-node": Cause(
        "",
        (
            "no node takes pod tempo-runtime-0 (0/1 nodes are available: 1 Insufficient nvidia.com/gpu.)",
        ),
        final=False,
        pod={
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                }
            ]
        },
    ),
    "no-runtime": Cause(
        "rpc error: code = Unavailable desc = dial tcp: lookup seldon-scheduler.production: no such host",
        ("check that the namespace has a SeldonRuntime",),
        final=False,
    ),
}


def arrange(core: Core2, cause: Cause) -> None:
    """Have a cause keep the model `plus` from being ready."""
    if cause.why:
        core.broken["plus"] = cause.why
        core.retries = not cause.final
    if cause.container is not None:
        core.stuck[SERVER] = {"containerStatuses": [{"name": "mlserver", **cause.container}]}
    elif cause.pod:
        core.stuck[SERVER] = dict(cause.pod)


def tell(api: ApiServer, cause: Cause) -> tuple[float, str]:
    """Deploy with a cause; return the seconds until it is reported, and the status then."""
    core = Core2(api)
    core.install()
    arrange(core, cause)
    options = Seldon2Options(remote_options={"namespace": "production", **cause.options})
    begun = time.monotonic()
    with pytest.raises(DeploymentFailed):
        deploy_remote(plus(child=None), options, timeout=20 if cause.final else 1)
    seconds = time.monotonic() - begun
    said = deploy.status("plus", options)["plus"].reason
    core.close()
    return seconds, said
