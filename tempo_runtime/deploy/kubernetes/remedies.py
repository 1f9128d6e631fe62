"""Find the option that solves a problem of a pod, by pure functions of Kubernetes' messages.

The messages are those of Kubernetes' scheduler (pkg/scheduler/framework/plugins), kubelet
(pkg/kubelet/kuberuntime) and admission (plugin/pkg/admission).
"""

from __future__ import annotations

import re

WAITED = "the deployment waits for it"
_TAINT = re.compile(r"untolerated taint(?:\(s\)| \{([^:}]*))")
# Taints that Kubernetes sets itself, such as those of a control plane or of a starting node.
_OWN_TAINTS = ("node-role.kubernetes.io/", "node.kubernetes.io/")
_CLAIM = re.compile(r"persistentvolumeclaim|PersistentVolumeClaim")
_MISSING = re.compile(r"(?:secret|configmap) \"?[^\s\"]+\"? not found|couldn't find key ")
_ROOT = re.compile(r"runAsNonRoot|non-numeric user")
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|exec format error")
_ACCOUNT = re.compile(r"serviceaccount \"[^\"]*\" not found")
_NO_KNATIVE = re.compile(r"not possible to use \w+ deployment mode")
_LIMITS = re.compile(r"must specify (?:limits|requests)|(?:maximum|minimum) \w+ usage per ")


def of_no_node(message: str) -> str:
    """Return the remedy for a pod for which the scheduler finds no node.

    Args:
        message: The scheduler's message.
    """
    parts = []
    if "node affinity" in message or "node selector" in message:
        parts.append("correct node_selector")
    taints = _TAINT.findall(message)
    if any(not taint.strip().startswith(_OWN_TAINTS) for taint in taints):
        parts.append("name the taint in tolerations")
    if "Insufficient " in message:
        parts.append("request less with resources")
    if _CLAIM.search(message):
        parts.append("check that the volume claim of its uri exists and is bound")
    return ", ".join(
        [*parts, "or add nodes"] if parts else ["check that nodes are up, or add nodes"]
    )


def of_image(init: bool) -> str:
    """Return the remedy for a container whose image cannot be pulled.

    Args:
        init: Whether it is an init container, whose image the platform chooses.
    """
    if init:
        return "this is the platform's own image: correct the platform's configuration"
    return "correct image, or set image_pull_secrets"


def of_container(message: str, option: str) -> str:
    """Return the remedy for a container that cannot be created; empty if none is known.

    Args:
        message: The kubelet's message.
        option: The option that names the Secrets of the container.
    """
    if _MISSING.search(message):
        return f"create it, or correct {option}; {WAITED}"
    if _ROOT.search(message):
        return "set run_as_user to a number other than 0, or correct image"
    if _NO_PROGRAM.search(message):
        return "correct image: it has no such program for this machine"
    return ""


def of_event(message: str) -> str:
    """Return the remedy for a warning; empty if none is known."""
    if _NO_KNATIVE.search(message):
        return (
            "install Knative Serving, or set knative to false; if the cluster's KServe is older than "
            "0.16, set kserve_version to its version; then undeploy, and deploy again"
        )
    if "exceeded quota" in message:
        return "request less with resources or replicas, or get a higher quota"
    if _ACCOUNT.search(message):
        return f"create it, or correct service_account_name; {WAITED}"
    if _LIMITS.search(message):
        return "correct resources"
    if "violates PodSecurity" in message:
        return "set run_as_user, or choose a namespace that allows it"
    if _CLAIM.search(message):
        return "check that the volume claim of its uri exists and is bound"
    if _MISSING.search(message):
        return f"create it; {WAITED}"
    return ""
