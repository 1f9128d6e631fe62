"""Which option mends what keeps a pod from running: pure functions of the messages of Kubernetes.

The messages are those of Kubernetes' scheduler (pkg/scheduler/framework/plugins), kubelet
(pkg/kubelet/kuberuntime) and admission (plugin/pkg/admission).
"""

from __future__ import annotations

import re

WAITED = "it is waited for"
_TAINT = re.compile(r"untolerated taint(?:\(s\)| \{([^:}]*))")
# Taints that Kubernetes sets by itself, such as those of a control plane or of a node that starts.
_OWN_TAINTS = ("node-role.kubernetes.io/", "node.kubernetes.io/")
_CLAIM = re.compile(r"persistentvolumeclaim|PersistentVolumeClaim")
_MISSING = re.compile(r"(?:secret|configmap) \"?[^\s\"]+\"? not found|couldn't find key ")
_ROOT = re.compile(r"runAsNonRoot|non-numeric user")
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|exec format error")
_ACCOUNT = re.compile(r"serviceaccount \"[^\"]*\" not found")
_NO_KNATIVE = re.compile(r"not possible to use \w+ deployment mode")
_LIMITS = re.compile(r"must specify (?:limits|requests)|(?:maximum|minimum) \w+ usage per ")


def of_no_node(message: str) -> str:
    """Return what helps a pod that the scheduler finds no node for.

    Args:
        message: The scheduler's.
    """
    found = []
    if "node affinity" in message or "node selector" in message:
        found.append("correct node_selector")
    taints = _TAINT.findall(message)
    if any(not taint.strip().startswith(_OWN_TAINTS) for taint in taints):
        found.append("name the taint in tolerations")
    if "Insufficient " in message:
        found.append("ask for less with resources")
    if _CLAIM.search(message):
        found.append("see that the volume claim of its uri is there and bound")
    return ", ".join([*found, "or add nodes"] if found else ["see that nodes are up, or add nodes"])


def of_image(init: bool) -> str:
    """Return what helps a container whose image cannot be pulled.

    Args:
        init: Whether it is an init container, whose image the platform chooses.
    """
    if init:
        return "that is the platform's own image: correct the platform's configuration"
    return "correct image, or name image_pull_secrets"


def of_container(message: str, option: str) -> str:
    """Return what helps a container that cannot be made; empty if that is not known.

    Args:
        message: The kubelet's.
        option: The option that names the Secrets that the container needs.
    """
    if _MISSING.search(message):
        return f"create it, or correct {option}; {WAITED}"
    if _ROOT.search(message):
        return "set run_as_user to a number other than 0, or correct image"
    if _NO_PROGRAM.search(message):
        return "correct image: it has no such program for this machine"
    return ""


def of_event(message: str) -> str:
    """Return what helps against a warning; empty if that is not known."""
    if _NO_KNATIVE.search(message):
        return (
            "install Knative Serving, or set knative to false; if the cluster's KServe is older than "
            "0.16, set kserve_version to its version; then undeploy, and deploy again"
        )
    if "exceeded quota" in message:
        return "ask for less with resources or replicas, or have the quota raised"
    if _ACCOUNT.search(message):
        return f"create it, or correct service_account_name; {WAITED}"
    if _LIMITS.search(message):
        return "correct resources"
    if "violates PodSecurity" in message:
        return "set run_as_user, or choose a namespace that allows it"
    if _CLAIM.search(message):
        return "see that the volume claim of its uri is there and bound"
    if _MISSING.search(message):
        return f"create it; {WAITED}"
    return ""
